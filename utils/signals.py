"""Being told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stopping_as_on_ctrl_c() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP end the block with ``KeyboardInterrupt``, so that it ends what it has started.

    Signals that somebody handles or ignores already (``nohup``) are left alone, and so are all outside the main thread.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    is_main = threading.current_thread() is threading.main_thread()
    wanted = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    handled = wanted if is_main else []
    for number in handled:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
