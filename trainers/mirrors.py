"""Copies of the numbers of training in other tools, such as TensorBoard: whatever happens there, a run goes on.

``metrics.jsonl`` is where the numbers are; a mirror that fails is told once and hears no more.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from transformers.integrations import get_reporting_integration_callbacks

from trainers.hf_trainer import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from utils.errors import first_line

logger = logging.getLogger(__name__)

EVENTS = tuple(name for name in vars(TrainerCallback) if name.startswith("on_"))
"""Everything that a Trainer tells its callbacks of."""


def check_installed(names: Sequence[str]) -> None:
    """Refuse mirrors whose package is not there, before anything is written.

    Raises:
        ValueError: Naming them, with the command that installs them.
    """
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"train.report_to: {', '.join(missing)} cannot be written to, since the package is not installed; "
            f"pip install {' '.join(missing)}, or take it out of train.report_to"
        )


class Mirror(TrainerCallback):
    """Hands events on to one of transformers' integrations, and drops it for good when it fails.

    What the run goes on with is out of its reach: it is given copies of the state, the control and the logged numbers,
    the random generators are put back behind it, and what it prints goes to standard error.

    Args:
        name: As in ``TrainingArguments.report_to``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._inner: Any = None
        self._failed = False
        threading.excepthook = _told_without_traceback
        with self._guard():
            self._inner = get_reporting_integration_callbacks([name])[0]()

    def hand_on(
        self, event: str, args: TrainingArguments, state: TrainerState, control: TrainerControl, **others: Any
    ) -> None:
        """Tell the integration of an event, unless it has failed or has no use for it."""
        if self._failed or getattr(type(self._inner), event, None) is getattr(TrainerCallback, event):
            return
        if isinstance(others.get("logs"), dict):
            others["logs"] = dict(others["logs"])
        with self._guard():
            getattr(self._inner, event)(args, copy.copy(state), copy.copy(control), **others)

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        drawn, drawn_by_torch = random.getstate(), torch.get_rng_state()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except (Exception, SystemExit) as error:  # whatever it is: it is not about the run
            self._failed = True
            self._inner = None
            logger.warning(
                "%s failed (%s) and gets no more numbers; metrics.jsonl has all of them",
                self.name,
                f"{type(error).__name__}: {first_line(error)}",
            )
        finally:
            random.setstate(drawn)
            torch.set_rng_state(drawn_by_torch)


def _told_without_traceback(failure: threading.ExceptHookArgs) -> None:
    """What becomes of an exception in a thread: TensorBoard's writer also raises it where the next number comes."""
    if type(failure.thread).__module__.startswith("tensorboard."):
        logger.debug("a thread of tensorboard ended", exc_info=failure.exc_value)
    else:
        threading.__excepthook__(failure)


def _handing_on(event: str) -> Any:
    def method(self: Mirror, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.hand_on(event, args, state, control, **others)

    method.__name__ = event
    method.__doc__ = f"Hand on ``{event}``."
    return method


for _event in EVENTS:
    setattr(Mirror, _event, _handing_on(_event))
