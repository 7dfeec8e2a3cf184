"""Starts a program, hands signals on to it, and starts it again after a crash."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from utils import exit_codes

LONGEST_PAUSE = 600.0
"""Seconds; pauses double until then."""
HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
"""What finetune.py saves on."""
MEANINGS: Mapping[int, str] = {
    exit_codes.FINISHED: "finished",
    exit_codes.FAULT: "a fault",
    exit_codes.BAD_INPUT: "input that cannot be used; it would be the same next time",
    exit_codes.LOCKED: "another process works in the run folder",
    exit_codes.STOPPED: "stopped by a signal; run the same again",
    exit_codes.OUT_OF_MEMORY: "one row does not fit into memory",
    exit_codes.NO_NUMBERS: "no numbers: NaN or infinity",
    exit_codes.INTERRUPTED: "interrupted",
}


class Limits(NamedTuple):
    """How often and when a crash is started again, and how long a stop may take."""

    restarts: int = 5
    """Starts after the first one."""
    pause: float = 10.0
    """Seconds before the second start; twice as long before each further one, up to ``LONGEST_PAUSE``."""
    grace: float = 110.0
    """Seconds from a signal to the end; then the program is killed."""


def read_limits(environment: Mapping[str, str]) -> Limits:
    """``RESTARTS``, ``RESTART_PAUSE`` and ``GRACE``.

    Raises:
        ValueError: If one is no such number.
    """
    usual = Limits()
    restarts = environment.get("RESTARTS") or str(usual.restarts)
    if not (restarts.isascii() and restarts.isdigit()):
        raise ValueError(f"RESTARTS={restarts}: must be a whole number, 0 for none")
    pause = _seconds(environment, "RESTART_PAUSE", usual.pause)
    grace = _seconds(environment, "GRACE", usual.grace)
    if grace == 0:
        raise ValueError("GRACE=0: a save needs time; give the seconds that a stop may take")
    return Limits(int(restarts), pause, grace)


def _seconds(environment: Mapping[str, str], name: str, usual: float) -> float:
    text = environment.get(name) or str(usual)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 86400:
        raise ValueError(f"{name}={text}: must be a number of seconds from 0 to 86400")
    return value


def supervise(command: Sequence[str], folder: Path, limits: Limits) -> int:
    """Run a program until it has finished, was stopped, refused, or crashed too often.

    Args:
        command: Program and arguments.
        folder: Where it is started.
        limits: Of restarts and of a stop.

    Returns:
        Its exit code, 128 and the number of the signal that killed it; ``STOPPED`` if a signal to us ended it or came
        in a pause.
    """
    child = _Child(command, folder, limits.grace)
    starts = 0
    while True:
        starts += 1
        code = child.run()
        say(f"exit code {code}: {MEANINGS.get(code) or _describe_killing(code)}")
        if child.asked or not _is_crash(code):
            return code
        if starts > limits.restarts:
            say(f"started {starts} times, crashed each time: not again")
            return code
        pause = pause_after(starts, limits.pause)
        say(f"crash {starts} of at most {limits.restarts + 1}: starting again in {pause:g} s")
        if not child.sleep(pause):
            say(f"stopped while waiting: exit code {exit_codes.STOPPED}")
            return exit_codes.STOPPED


def pause_after(crashes: int, first: float) -> float:
    """Seconds to wait after so many crashes: ``first``, then twice as long each time, up to ``LONGEST_PAUSE``."""
    return min(first * 2.0 ** min(crashes - 1, 64), LONGEST_PAUSE)  # 64: far beyond the longest, and still a float


def _is_crash(code: int) -> bool:
    return code == exit_codes.FAULT or code > 128 and code != exit_codes.INTERRUPTED


def _describe_killing(code: int) -> str:
    if code == 128 + signal.SIGKILL:
        return "killed; if nobody did, the system ran out of memory"
    return f"killed by signal {code - 128}" if code > 128 else "unknown"


class _Child:
    """The program, one start at a time, and the signal that asked it to end."""

    def __init__(self, command: Sequence[str], folder: Path, grace: float) -> None:
        self.command = command
        self.folder = folder
        self.grace = grace
        self.asked: int | None = None
        self._running: subprocess.Popen[bytes] | None = None
        for number in HANDED_ON:
            signal.signal(number, self._hand_on)
        signal.signal(signal.SIGALRM, self._kill)

    def run(self) -> int:
        # A group of its own: a Ctrl-C in the terminal comes once, by us, and whatever it leaves behind can be ended.
        self._running = subprocess.Popen(self.command, cwd=self.folder, start_new_session=True)
        if self.asked:  # while it was being started
            self._running.send_signal(self.asked)
        code = self._running.wait()
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._kill_group()  # data workers of one that was killed would hold memory and GPU
        self._running = None
        if self.asked and -code in HANDED_ON:
            return exit_codes.STOPPED  # it listened to no signal yet, so there was nothing to save
        return code if code >= 0 else 128 - code

    def sleep(self, seconds: float) -> bool:
        """False if a signal came meanwhile."""
        end = time.monotonic() + seconds
        while not self.asked and (left := end - time.monotonic()) > 0:
            time.sleep(min(0.2, left))
        return not self.asked

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        if not self.asked:
            say(f"{signal.Signals(number).name}: to end within {self.grace:g} s")
            signal.setitimer(signal.ITIMER_REAL, self.grace)
        self.asked = number
        if self._running is not None:
            self._running.send_signal(number)

    def _kill(self, number: int, frame: FrameType | None) -> None:
        if self._running is not None:
            say(f"no end within {self.grace:g} s (GRACE): killing it; it goes on from its last checkpoint")
            self._kill_group()

    def _kill_group(self) -> None:
        if self._running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._running.pid, signal.SIGKILL)


def say(text: str) -> None:
    """Tell whoever reads the container's log, if somebody does."""
    # Not print: it is not reentrant, and a signal may come while it writes. A log that is closed or full
    # is no reason to leave the program alone.
    with contextlib.suppress(OSError):
        os.write(2, "".join(f"entrypoint: {line}\n" for line in text.splitlines()).encode(errors="replace"))
