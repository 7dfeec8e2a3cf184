"""Processes that load pictures: they end with the process that they work for, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import TracebackType

from PIL import Image

from preprocessors.pictures.images import limit_pixels

PR_SET_PDEATHSIG = 1
"""Of Linux's ``prctl``: the signal that a process gets when the thread that made it ends."""


def worker_init(then: Callable[[int], None] | None = None) -> Callable[[int], None]:
    """What a ``DataLoader``'s workers do first, as its ``worker_init_fn``; to be called in the process they work for.

    On Linux the kernel ends a worker as soon as that process is gone, in the middle of whatever it does. Elsewhere
    PyTorch's own watch does, once the worker waits for work again, within five seconds. Ctrl-C, which reaches all
    processes of a terminal, is left to the one that they work for, and so is to tell why it ended. The limit of pixels
    is the same as there, also in workers that are not forked.

    Args:
        then: What else they do, given the worker's number.
    """
    return partial(_begin, parent=os.getpid(), most_pixels=Image.MAX_IMAGE_PIXELS, then=then)


def _begin(number: int, *, parent: int, most_pixels: int | None, then: Callable[[int], None] | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _tell_but_lost_connections
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before the kernel knew
        os._exit(1)
    if most_pixels is not None:
        limit_pixels(most_pixels)
    if then is not None:
        then(number)


def _tell_but_lost_connections(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What nobody caught in a worker; faults of rows are sent to the process that it works for and are not among these.

    Python's own thread, which hands open files over to that process, loses its connection when that one ends.
    """
    if not issubclass(kind, (EOFError, ConnectionError)):
        sys.__excepthook__(kind, error, trace)
