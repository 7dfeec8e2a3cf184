"""How a training ended, written down beside it: a run that was killed has nothing to say."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from runs.folder import Run
from utils import exit_codes
from utils.errors import Ending, first_line
from utils.io import write_json

logger = logging.getLogger(__name__)

T = TypeVar("T")
TRAINED, PAUSED, STOPPED, FAILED = "trained", "paused", "stopped", "failed"


def record_ending(run: Run, train: Callable[[], T | None], *, record: bool = True) -> T | None:
    """Train, and write into ``ending.json`` how it ended.

    Args:
        run: Its folder.
        train: Returns None at the end of training, and what there is to say of a pause.
        record: Whether this process writes; one of those that train together.

    Returns:
        What ``train`` returns; its exceptions pass through.
    """
    if not record:
        return train()
    run.ending.unlink(missing_ok=True)  # of the start before: a run that is killed must not look as if it had ended
    try:
        paused = train()
    except BaseException as error:
        code = getattr(error, "exit_code", None)
        stopped = isinstance(error, KeyboardInterrupt) or (isinstance(error, Ending) and code == exit_codes.STOPPED)
        _write(run, STOPPED if stopped else FAILED, first_line(error))
        raise
    _write(run, TRAINED if paused is None else PAUSED, "")
    return paused


def _write(run: Run, how: str, reason: str) -> None:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    try:
        write_json(run.ending, {"how": how, "reason": reason, "at": now})
    except (OSError, ValueError) as error:  # a full disk must not hide why the run ended
        logger.warning("%s: cannot be written (%s)", run.ending, first_line(error))
