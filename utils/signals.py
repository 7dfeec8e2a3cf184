"""Being told to stop: by Ctrl-C, a terminal that closes, or a scheduler that is about to take the machine away."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from utils import exit_codes

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""SIGUSR1 is what Slurm's ``--signal`` sends ahead of the end."""
SECOND_AFTER = 2.0
"""Seconds. A launcher and a scheduler tell the same process within moments: that is one request, not two."""

PARENT_SECONDS = 0.5
"""How long a forked process waits to see whether its parent was told as well."""

PATIENCE = 2.0
"""Seconds that a wait which looks at no signal has after one."""


class StopRequested(KeyboardInterrupt):
    """A signal came, and the work at hand was given up because it can be done again."""


class _Request:
    """What this process has been told; the interpreter calls its handler between two instructions."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.since = 0.0
        self.waits = 0
        self.process = os.getpid()
        self.told = mmap.mmap(-1, 1)
        """1 while the process that began it has been told; shared with processes that are forked from it."""

    def begin(self) -> None:
        self.number, self.process, self.told[0] = None, os.getpid(), 0

    def end(self) -> None:
        self.told[0] = 0

    def take(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            self._take_in_child(number)
            return
        self.told[0] = 1
        if self.number is not None and time.monotonic() - self.since > SECOND_AFTER:
            _leave_at_once(number)
        if self.number is None:
            self.number, self.since = number, time.monotonic()
            if self.waits:
                name = signal.Signals(number).name
                sys.stderr.write(f"\n{name}: stopping at the end of this step; once more leaves at once\n")
        if not self.waits:
            raise KeyboardInterrupt

    def _take_in_child(self, number: int) -> None:
        # A scheduler tells every process. One that loads data is still needed for the step that is being ended, and is
        # ended with it; one that its parent ends, which was told nothing, goes.
        deadline = time.monotonic() + PARENT_SECONDS
        while number == signal.SIGTERM and not self.told[0]:
            if time.monotonic() > deadline:
                os._exit(128 + number)
            time.sleep(0.01)


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
    _request.begin()
    for number in handled:
        signal.signal(number, _request.take)
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
        _request.end()


@contextmanager
def waiting() -> Iterator[None]:
    """Lets the block choose the moment to stop: signals only ask, and it is to look at :func:`stop_requested`."""
    _request.waits += 1
    try:
        yield
    finally:
        _request.waits -= 1


@contextmanager
def leaving_soon() -> Iterator[None]:
    """Has signals end the process within :data:`PATIENCE`, though the block waits in code that looks at none.

    For waits in which there is nothing to save, such as PyTorch's for processes that have not come yet. Exit code 75.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told, tells = socket.socketpair()
    tells.setblocking(False)
    threading.Thread(target=_leave_when_told, args=(told,), daemon=True, name="signal-watch").start()
    former = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        tells.close()  # which ends the thread


def _leave_when_told(told: socket.socket) -> None:
    with told:
        number = told.recv(1)
        # The block may have come to its end by itself, or the interpreter to the handler of the signal.
        told.settimeout(PATIENCE)
        while number:
            try:
                number = told.recv(1)
            except TimeoutError:
                break
    if number and number[0] in SIGNALS:
        name = signal.Signals(number[0]).name
        sys.stderr.write(f"interrupted by {name} while waiting for the other processes; run the same command again\n")
        os._exit(exit_codes.STOPPED)


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
