"""Starts programs from a process that has imported everything, so that hundreds of starts and deaths take minutes.

As a program it reads a request a line and forks for each; :class:`Warm` is its client. A child leads a session of its
own: whatever is left of the session after its end is an orphan.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import psutil

REPOSITORY = Path(__file__).resolve().parents[2]


class Warm:
    """A process that forks at once; ``call`` names a function, ``module:name``, whose result is the exit code."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "tests.faults.warm"]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def start(self, call: str, log: Path, **arguments: Any) -> int:
        """Fork; the number of the process, whose output goes into ``log``."""
        return self._ask({"start": call, "log": str(log), "arguments": arguments})

    def wait(self, pid: int, seconds: float) -> int | None:
        """Exit code, negative for a signal; None if the process still runs after so many seconds."""
        return self._ask({"wait": pid, "seconds": seconds})

    def call(self, call: str, log: Path, seconds: float = 120, **arguments: Any) -> int | None:
        """Fork and wait; a process that does not end is killed, and gives None."""
        pid = self.start(call, log, **arguments)
        code = self.wait(pid, seconds)
        if code is None:
            end_session(pid)
            self.wait(pid, 10)
        return code

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait(20)

    def _ask(self, request: dict[str, Any]) -> Any:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def session_of(leader: int) -> list[psutil.Process]:
    """Processes that are left of a child's session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def orphans(leader: int, seconds: float = 8.0) -> list[psutil.Process]:
    """What is left of a session after so many seconds at most."""
    deadline = time.monotonic() + seconds
    while (left := session_of(leader)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def end_session(leader: int) -> None:
    for process in session_of(leader):
        with contextlib.suppress(psutil.Error):
            process.kill()


def _serve() -> None:
    for module in ("tests.faults.children", "pipeline.train", "commands.train", "safetensors.torch", "sklearn.svm"):
        __import__(module)
    codes: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer = _fork(request)
        else:
            answer = _wait(request["wait"], request["seconds"], codes)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 250
    try:
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = int(resolve_name(request["start"])(**request["arguments"]) or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            import logging

            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _wait(pid: int, seconds: float, codes: dict[int, int]) -> int | None:
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        select.select([], [], [], 0.02)


if __name__ == "__main__":
    _serve()
