"""The entry point as a program: what it starts again, what it passes on, and what a signal becomes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest

from container.supervisor import pause_after
from tests.container.bare import PYTHON, BareCheckout, wait_until
from utils import exit_codes

NOBODY = 65534


def test_variables_and_arguments_reach_the_program(checkout):
    code, told = checkout.run("--allow-change", LEARNING_RATE="1e-4", STYLECAP_DATA__NUM_IMAGES="5", VAL_BATCH="")
    assert code == 0, told
    assert checkout.calls[0]["arguments"][-1] == "--allow-change"
    assert checkout.calls[0]["folder"] == str(checkout.folder)
    assert checkout.settings() == ["train.lr=1e-4", "data.num_images=5"]
    assert "entrypoint: LEARNING_RATE=1e-4 became train.lr\n" in told


def test_unknown_variable_ends_with_2_before_anything_starts(checkout):
    code, told = checkout.run(STYLECAP_TRIAN__LR="1", STYLECAP_X__Y="2")
    assert code == exit_codes.BAD_INPUT
    assert "entrypoint: error: STYLECAP_TRIAN__LR: unknown variable; did you mean STYLECAP_TRAIN__LR?" in told
    assert "\nentrypoint: STYLECAP_X__Y: unknown variable" in told
    assert checkout.calls == []


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RESTARTS": "-1"}, "RESTARTS=-1: must be a whole number"),
        ({"RESTART_PAUSE": "soon"}, "RESTART_PAUSE=soon: must be a number of seconds"),
        ({"GRACE": "nan"}, "GRACE=nan: must be a number of seconds"),
        ({"GRACE": "0"}, "GRACE=0: a save needs time"),
    ],
)
def test_limits_that_are_no_numbers_are_refused(checkout, variables, said):
    code, told = checkout.run(**variables)
    assert (code, checkout.calls) == (exit_codes.BAD_INPUT, [])
    assert said in told


@pytest.mark.parametrize("ending", [0, 2, 69, 75, 77, 78, 130])
def test_exit_code_that_is_no_crash_is_passed_on_and_never_started_again(checkout, ending):
    checkout.end_with(str(ending))
    code, told = checkout.run()
    assert (code, len(checkout.calls)) == (ending, 1)
    assert f"exit code {ending}: " in told


def test_crashes_are_started_again_until_it_finishes(checkout):
    checkout.end_with("1", "killed", "0")
    code, told = checkout.run()
    assert (code, len(checkout.calls)) == (0, 3)
    assert "exit code 137: killed; if nobody did, the system ran out of memory" in told
    assert all(call["arguments"] == checkout.calls[0]["arguments"] for call in checkout.calls)


def test_crash_then_a_refusal_ends_with_the_refusal(checkout):
    checkout.end_with("1", "77", "0")
    assert checkout.run()[0] == exit_codes.OUT_OF_MEMORY
    assert len(checkout.calls) == 2


@pytest.mark.parametrize(("ending", "code"), [("1", exit_codes.FAULT), ("killed", 128 + signal.SIGKILL)])
def test_crashes_have_a_limit_and_the_last_one_s_code(checkout, ending, code):
    checkout.end_with(*[ending] * 9)
    assert checkout.run(RESTARTS="2")[0] == code
    assert len(checkout.calls) == 3


def test_no_restarts_is_no_restart(checkout):
    checkout.end_with("1", "0")
    assert checkout.run(RESTARTS="0")[0] == exit_codes.FAULT
    assert len(checkout.calls) == 1


def test_pauses_double(checkout):
    checkout.end_with("1", "1", "1", "0")
    _, told = checkout.run(RESTART_PAUSE="0.1")
    assert [line.split()[-2] for line in told.splitlines() if "starting again" in line] == ["0.1", "0.2", "0.4"]
    times = [call["time"] for call in checkout.calls]
    assert all(later - sooner >= pause for (sooner, later), pause in zip(pairwise(times), (0.1, 0.2, 0.4), strict=True))


@pytest.mark.parametrize(
    ("crashes", "first", "pause"), [(1, 10, 10), (2, 10, 20), (6, 10, 320), (7, 10, 600), (5000, 10, 600), (5000, 0, 0)]
)
def test_pauses_have_a_limit(crashes, first, pause):
    assert pause_after(crashes, first) == pause


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signal_becomes_a_save_and_75(checkout, number):
    checkout.end_with("save", "0")
    process = checkout.start()
    wait_until(lambda: bool(checkout.calls))
    process.send_signal(number)
    _, told = process.communicate(timeout=30)
    assert process.returncode == exit_codes.STOPPED, told
    assert (checkout.folder / "work_dir/saved").read_text() == number.name
    assert len(checkout.calls) == 1


def test_signal_to_a_program_that_listens_to_none_yet_is_75(checkout):
    checkout.end_with("deaf", "0")
    stand_in = checkout.folder / "finetune.py"
    stand_in.write_text(stand_in.read_text().replace("signal.SIG_IGN", "signal.SIG_DFL"))
    process = checkout.start()
    wait_until(lambda: bool(checkout.calls))
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == exit_codes.STOPPED


def test_signal_becomes_a_save_where_nobody_reads_the_log_any_more(checkout):
    checkout.end_with("save", "0")
    process = checkout.start()
    wait_until(lambda: bool(checkout.calls))
    process.stderr.close()
    process.terminate()
    assert process.wait(timeout=30) == exit_codes.STOPPED
    assert (checkout.folder / "work_dir/saved").read_text() == "SIGTERM"


def test_signal_in_a_pause_ends_it_with_75(checkout):
    checkout.end_with("1", "0")
    process = checkout.start(RESTART_PAUSE="600")
    for line in process.stderr:
        if "starting again in 600 s" in line:
            break
    process.terminate()
    process.communicate(timeout=30)
    assert (process.returncode, len(checkout.calls)) == (exit_codes.STOPPED, 1)


def test_program_that_does_not_end_in_time_is_killed_and_not_called_saved(checkout):
    checkout.end_with("deaf", "0")
    process = checkout.start(GRACE="0.3")
    wait_until(lambda: bool(checkout.calls))
    process.terminate()
    _, told = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGKILL
    assert "no end within 0.3 s (GRACE)" in told
    assert not Path(f"/proc/{checkout.calls[0]['process']}").exists()


@pytest.fixture
def everybodys():
    """A folder that every user may enter, on a file system in memory where there is one."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def _python_for_everybody() -> str:
    for python in (PYTHON, "/usr/bin/python3"):
        try:
            command = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
            if subprocess.run(command, user=NOBODY, cwd="/").returncode == 0:
                return python
        except OSError:
            pass  # it lies in a home that others may not enter, or is not there
    pytest.skip("no Python of 3.11 or newer that another user may start")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as another user")
def test_user_without_a_right_to_the_checkout_writes_into_runs_alone(everybodys):
    checkout = BareCheckout(everybodys / "app")
    (everybodys / "runs").mkdir()
    shutil.rmtree(checkout.folder / "work_dir")
    (checkout.folder / "work_dir").symlink_to(everybodys / "runs")
    os.chown(everybodys / "runs", NOBODY, NOBODY)
    before = {path: path.stat().st_mtime_ns for path in checkout.folder.rglob("*") if path.is_file()}
    checkout.user, checkout.python = NOBODY, _python_for_everybody()
    code, told = checkout.run()
    assert code == 0, told
    assert (everybodys / "runs/calls").stat().st_uid == NOBODY
    assert {path: path.stat().st_mtime_ns for path in before} == before
