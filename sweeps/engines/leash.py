"""Runs a command that must not outlive the process that asked for it.

    python sweeps/engines/leash.py LOCK LOG COMMAND...

Standard input is the leash: when its other end is closed, by wish or because that process died in whatever way, the
command and everything that it has started is ended: asked with SIGTERM, so that it can clean up, and killed after
a while. LOCK is held meanwhile, by the command too, so that a second start elsewhere waits until the first is really
gone. What the command says is appended to LOG, after a line with === and the command. The exit code is the command's.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import FrameType

import psutil

GRACE_SECONDS = 20.0
"""Between SIGTERM and SIGKILL."""
LOCK_SECONDS = 60.0
"""Wait for an earlier start that is being ended."""
LOCKED = 69
"""Exit code if that did not end: that of ``utils.exit_codes``, which a program that is started alone cannot import."""
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""Of Linux's prctl."""


def main(arguments: Sequence[str]) -> int:
    """Run the command.

    Returns:
        Its exit code; 128 and the number of the signal that ended it.
    """
    lock, log, *command = arguments
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, stop)
    adopt_orphans()
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "ab") as lock_file, open(log, "ab") as output:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _take(lock_file.fileno()):
            if stopped.is_set() or _is_let_go(sys.stdin.fileno()):
                return 128 + signal.SIGTERM
            if time.monotonic() > deadline:
                output.write(f"error: {lock}: another process has been working on this for a minute\n".encode())
                return LOCKED
        began = datetime.now().astimezone().isoformat(timespec="seconds")
        output.write(f"=== {began} {shlex.join(command)}\n".encode())
        output.flush()
        return run(command, output.fileno(), sys.stdin.fileno(), stopped, hold=(lock_file.fileno(),))


def run(command: Sequence[str], output: int, leash: int, stopped: threading.Event, hold: Sequence[int] = ()) -> int:
    """Run a command until it ends or is to be ended; nothing that it started is left then.

    Args:
        command: Program and arguments.
        output: File descriptor for what it says.
        leash: File descriptor; the command is ended when its other end is closed.
        stopped: Set to end the command as well.
        hold: File descriptors that the command keeps open, so that a lock on them lasts as long as it does.

    Returns:
        Its exit code; 128 and the number of the signal that ended it.
    """
    # A session of its own: Ctrl-C in the terminal reaches the scheduler alone, which decides.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=hold,
        preexec_fn=end_with_parent,
    )
    while process.poll() is None and not stopped.is_set() and not _is_let_go(leash):
        pass
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
        process.kill()
    code = process.wait()
    kill_descendants()
    return code if code >= 0 else 128 - code


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent dies, so that they can be found; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Ask to be sent SIGTERM when the parent dies, even if it is killed; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def kill_descendants() -> None:
    """Kill everything that this process has started, directly or not."""
    for _ in range(20):  # again, because a process may have been starting another one
        left = [process for process in psutil.Process().children(recursive=True) if _is_alive(process)]
        if not left:
            return
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=1)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_let_go(leash: int, seconds: float = 0.1) -> bool:
    readable, _, _ = select.select([leash], [], [], seconds)
    return bool(readable) and not os.read(leash, 1024)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
