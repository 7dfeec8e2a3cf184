"""The leash: nothing outlives who asked for it, and no two work in one place."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from utils.exit_codes import LOCKED

REPOSITORY = Path(__file__).resolve().parents[3]
LEASH = REPOSITORY / "sweeps/engines/leash.py"
# Starts a process in a session of its own, as torchrun does, tells the numbers of both, and waits.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
print(os.getpid(), child.pid, flush=True)
time.sleep(300)
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY
TIDY = """
import pathlib, signal, sys
def tidy(*_):
    pathlib.Path(sys.argv[1]).write_text("tidied")
    sys.exit(5)
signal.signal(signal.SIGTERM, tidy)
"""


@pytest.fixture
def leash(tmp_path):
    """Starts a command on a leash; what is left of it is killed in the end."""
    started = []

    def start(*command: str, name: str = "job", patch: str = "") -> subprocess.Popen[bytes]:
        program = [sys.executable, "-P", str(LEASH)]
        if patch:
            head = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from sweeps.engines import leash; {patch}; "
            program = [sys.executable, "-c", head + "sys.exit(leash.main(sys.argv[1:]))"]
        arguments = [str(tmp_path / "job.lock"), str(tmp_path / f"{name}.log"), *command]
        process = subprocess.Popen([*program, *arguments], stdin=subprocess.PIPE, start_new_session=True)
        started.append(process)
        return process

    yield start
    for process in started:
        if process.stdin:
            process.stdin.close()
        if process.poll() is None:
            process.kill()
            process.wait()


def _pids(log: Path, seconds: float = 20) -> list[int]:
    """Numbers of the processes of a FAMILY, once it has told them."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        lines = [line for line in log.read_text().splitlines() if line[:1].isdigit()] if log.exists() else []
        if lines:
            return [int(word) for word in lines[-1].split()]
        time.sleep(0.05)
    raise AssertionError(f"{log} stayed empty")


def _are_gone(pids: list[int], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(_is_alive, pids)):
            return True
        time.sleep(0.05)
    return False


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("program", "code"), [("pass", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_leash_exit_code_is_that_of_the_command(leash, program, code):
    assert leash(sys.executable, "-c", program).wait(30) == code


def test_leash_appends_what_the_command_says(leash, tmp_path):
    for word in ("first", "second"):
        program = f"import sys; print('{word}', flush=True); print('{word} error', file=sys.stderr)"
        assert leash(sys.executable, "-c", program).wait(30) == 0
    lines = (tmp_path / "job.log").read_text().splitlines()
    assert [line for line in lines if not line.startswith("=== ")] == ["first", "first error", "second", "second error"]
    assert [line.startswith("=== ") and sys.executable in line for line in lines] == [True, False, False] * 2


@pytest.mark.parametrize("how", ["let go", signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_leash_ends_the_command_and_what_it_started(leash, tmp_path, how):
    process = leash(sys.executable, "-c", FAMILY)
    pids = _pids(tmp_path / "job.log")
    if how == "let go":
        process.stdin.close()
    else:
        process.send_signal(how)
    assert process.wait(30) == 128 + signal.SIGTERM
    assert _are_gone(pids, 0.1)


def test_leash_lets_the_command_tidy_up(leash, tmp_path):
    process = leash(sys.executable, "-c", TIDY + FAMILY, str(tmp_path / "tidied"))
    pids = _pids(tmp_path / "job.log")
    process.stdin.close()
    assert process.wait(30) == 5
    assert (tmp_path / "tidied").read_text() == "tidied"
    assert _are_gone(pids, 0.1)


def test_leash_kills_what_does_not_listen(leash, tmp_path):
    process = leash(sys.executable, "-c", STUBBORN, patch="leash.GRACE_SECONDS = 0.3")
    pids = _pids(tmp_path / "job.log")
    process.stdin.close()
    assert process.wait(30) == 128 + signal.SIGKILL
    assert _are_gone(pids, 0.1)


def test_leash_of_a_command_that_ends_by_itself_leaves_nothing_behind(leash, tmp_path):
    process = leash(sys.executable, "-c", FAMILY.removesuffix("time.sleep(300)\n"))
    pids = _pids(tmp_path / "job.log")
    assert process.wait(30) == 0
    assert _are_gone(pids, 0.1)


def test_killed_parent_takes_the_command_with_it(tmp_path):
    """SIGKILL cannot be handled: that the pipe closes is all that is left."""
    log = tmp_path / "job.log"
    arguments = [sys.executable, "-P", str(LEASH), str(tmp_path / "job.lock"), str(log), sys.executable, "-c", FAMILY]
    program = f"import subprocess, time; subprocess.Popen({arguments!r}, stdin=subprocess.PIPE); time.sleep(300)"
    parent = subprocess.Popen([sys.executable, "-c", program])
    try:
        pids = _pids(log)
    finally:
        parent.kill()
        parent.wait()
    assert _are_gone(pids)


def test_second_start_waits_until_the_first_is_gone(leash, tmp_path):
    first = leash(sys.executable, "-c", FAMILY, name="first")
    pids = _pids(tmp_path / "first.log")
    second = leash(sys.executable, "-c", f"import os; print(os.path.exists('/proc/{pids[0]}'))", name="second")
    time.sleep(1)  # long enough to start, if it did not wait
    assert (tmp_path / "second.log").read_text() == ""
    first.stdin.close()
    assert second.wait(30) == 0
    assert (tmp_path / "second.log").read_text().splitlines()[-1] == "False"


def test_second_start_gives_up_when_the_first_stays(leash, tmp_path):
    leash(sys.executable, "-c", FAMILY, name="first")
    _pids(tmp_path / "first.log")
    second = leash(sys.executable, "-c", "pass", name="second", patch="leash.LOCK_SECONDS = 0.2")
    assert second.wait(30) == LOCKED
    assert "another process has been working on this" in (tmp_path / "second.log").read_text()


def test_killed_leash_takes_the_command_with_it_and_keeps_its_lock_until_then(leash, tmp_path):
    """As the kernel does when memory runs out. The command takes a second to tidy up; a second start waits for it."""
    slow = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit()))\n"
    alone = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(300)\n"
    first = leash(sys.executable, "-c", slow + alone, name="first")
    (pid,) = _pids(tmp_path / "first.log")
    first.kill()
    first.wait(10)
    # A process that has ended and that nobody has asked for yet has no command line.
    ask = f"import os; place = '/proc/{pid}/cmdline'; print(os.path.exists(place) and open(place).read() != '')"
    second = leash(sys.executable, "-c", ask, name="second")
    assert second.wait(30) == 0
    assert (tmp_path / "second.log").read_text().splitlines()[-1] == "False"
    assert _are_gone([pid], 0.1)


@pytest.mark.parametrize("how", ["let go", signal.SIGTERM])
def test_leash_that_waits_for_its_lock_can_be_let_go(leash, tmp_path, how):
    leash(sys.executable, "-c", FAMILY, name="first")
    _pids(tmp_path / "first.log")
    second = leash(sys.executable, "-c", "print('was started')", name="second")
    time.sleep(0.5)
    if how == "let go":
        second.stdin.close()
    else:
        second.send_signal(how)
    assert second.wait(10) == 128 + signal.SIGTERM
    assert (tmp_path / "second.log").read_text() == ""
