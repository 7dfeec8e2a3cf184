"""Being told to stop: by Ctrl-C, a terminal that closes, or a scheduler that is about to take the machine away."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""SIGUSR1 is what Slurm's ``--signal`` sends ahead of the end."""
SECOND_AFTER = 2.0
"""Seconds. A launcher and a scheduler tell the same process within moments: that is one request, not two."""


class StopRequested(KeyboardInterrupt):
    """A signal came, and the work at hand was given up because it can be done again."""


class _Request:
    """What this process has been told; the interpreter calls its handler between two instructions."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.since = 0.0
        self.waits = 0

    def take(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None and time.monotonic() - self.since > SECOND_AFTER:
            _leave_at_once(number)
        if self.number is None:
            self.number, self.since = number, time.monotonic()
            if self.waits:
                name = signal.Signals(number).name
                sys.stderr.write(f"\n{name}: stopping at the end of this step; once more leaves at once\n")
        if not self.waits:
            raise KeyboardInterrupt


_request = _Request()


@contextmanager
def stopping_as_on_ctrl_c() -> Iterator[None]:
    """Lets SIGTERM, SIGHUP, SIGUSR1 and SIGINT end the block with ``KeyboardInterrupt``, so that it ends what it began.

    Inside :func:`waiting` they only ask: see :func:`stop_requested`. A second signal more than two seconds after the
    first leaves at once. Signals that somebody handles or ignores already (``nohup``) are left alone, and so are all
    outside the main thread.
    """
    is_main = threading.current_thread() is threading.main_thread()
    usual = (signal.SIG_DFL, signal.default_int_handler)
    former = {number: signal.getsignal(number) for number in SIGNALS} if is_main else {}
    handled = {number: handler for number, handler in former.items() if handler in usual}
    _request.number = None
    for number in handled:
        signal.signal(number, _request.take)
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


@contextmanager
def waiting() -> Iterator[None]:
    """Lets the block choose the moment to stop: signals only ask, and it is to look at :func:`stop_requested`."""
    _request.waits += 1
    try:
        yield
    finally:
        _request.waits -= 1


def stop_requested() -> bool:
    """Whether a signal has asked this process to stop."""
    return _request.number is not None


def requested_by() -> str:
    """Name of the signal that has asked, or of that of Ctrl-C."""
    return signal.Signals(_request.number or signal.SIGINT).name


def request_stop(number: int = signal.SIGTERM) -> None:
    """Ask this process to stop as a signal does."""
    os.kill(os.getpid(), number)


def _leave_at_once(number: int) -> None:
    # Only now, since it is for this moment alone: it takes a third of the time that a plain --help may take.
    import psutil

    for child in psutil.Process().children(recursive=True):
        child.kill()
    os._exit(128 + number)
