"""This process among those that train together."""

from __future__ import annotations

import os
import threading
import time

from utils.signals import request_stop

LOOK_EVERY = 0.5
"""Seconds between two looks for the launcher."""
GRACE = 60.0
"""Seconds that an orphan has for its checkpoint."""


def rank() -> int:
    """Number of this process under ``torchrun``, 0 alone."""
    return int(os.environ.get("RANK", "0"))


def end_with_launcher() -> None:
    """Stop this process, as a signal would, when the ``torchrun`` that started it is gone.

    Without it nobody would end the processes that are left, and they would hold the run folder.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return

    def watch(launcher: int) -> None:
        while os.getppid() == launcher:
            time.sleep(LOOK_EVERY)
        request_stop()
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True, name="launcher-watch").start()
