from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runs.folder import Run
from runs.lock import is_locked, locked, read_holder
from utils.errors import Locked

REPOSITORY = Path(__file__).resolve().parents[2]
HOLD = "import sys, time; from pathlib import Path; from runs.folder import Run; from runs.lock import locked\n"
HOLD += "with locked(Run(Path(sys.argv[1]))):\n    print('held', flush=True)\n    time.sleep(60)"


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of a run."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_second_start_is_refused_and_the_first_is_named(tmp_path, holder):
    run = Run(tmp_path / "run")
    assert is_locked(run)
    with pytest.raises(Locked, match=rf"process {holder.pid} on {platform.node()}, started 20.*give another work_dir"):
        with locked(run):
            raise AssertionError("two processes hold one lock")
    assert Locked.exit_code == 69


def test_death_releases_the_lock(tmp_path, holder):
    run = Run(tmp_path / "run")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not is_locked(run)
    with locked(run):
        assert read_holder(run)["pid"] == os.getpid()
        assert is_locked(run)
    assert not is_locked(run)
    assert read_holder(run) == {}


def test_unknown_holder_and_new_folder(tmp_path, holder):
    run = Run(tmp_path / "run")
    run.lock_holder.write_text("{")
    with pytest.raises(Locked, match="another process works in this folder"):
        locked(run).__enter__()
    assert not is_locked(Run(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"work_dir=.*file/run: cannot be written"):
        locked(Run(tmp_path / "file/run")).__enter__()
