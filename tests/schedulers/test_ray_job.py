"""The job for a Ray cluster: what its job server would be handed, run to its plan."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "conf/ray/job.sh"


@pytest.fixture
def checkout(tmp_path):
    """A checkout in a folder with a space, whose ray says its arguments as JSON."""
    folder = tmp_path / "a checkout"
    (folder / "conf/ray").mkdir(parents=True)
    (folder / "conf/ray/job.sh").write_bytes(SCRIPT.read_bytes())
    (folder / ".venv/bin").mkdir(parents=True)
    say = f'#!/usr/bin/env bash\nexec "{sys.executable}" -c "import json, sys; print(json.dumps(sys.argv[1:]))" "$@"\n'
    for name in ("ray", "python"):
        (folder / ".venv/bin" / name).write_text(say)
        (folder / ".venv/bin" / name).chmod(0o755)
    return folder


def _submit(checkout: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(checkout / "conf/ray/job.sh"), *arguments]
    told = os.environ | {"RAY": ".venv/bin/ray"} | variables
    return subprocess.run(command, capture_output=True, text=True, env=told, cwd="/")


def test_shellcheck_finds_nothing():
    shellcheck = str(Path(sys.executable).with_name("shellcheck"))
    done = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_job_is_the_sweep_in_the_checkout_with_every_argument_as_it_is(checkout):
    done = _submit(checkout, "0,1", "--conf", "my sweep's.json", RAY_API="http://head:8265")
    assert done.returncode == 0, done.stderr
    submitted = json.loads(done.stdout)
    assert submitted[:-3] == ["job", "submit", "--address", "http://head:8265", "--no-wait", "--"]
    ran = subprocess.run(submitted[-3:], capture_output=True, text=True, cwd="/")
    assert json.loads(ran.stdout) == ["-m", "sweeps", "run", "0,1", "--conf", "my sweep's.json", "--engine", "ray"]


def test_job_without_gpu_ids_or_a_server_says_how_it_is_used(checkout):
    done = _submit(checkout, RAY_API="http://head:8265")
    assert (done.returncode, "usage: RAY_API=" in done.stderr) == (2, True)
    done = _submit(checkout, "0,1", RAY_API="")
    assert done.returncode != 0
    assert "RAY_API: names the job server" in done.stderr
