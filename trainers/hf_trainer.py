"""The one door to transformers' trainer, which is imported here without peft.

Its modules import peft wherever that is installed, to know peft's wrappers: 3 seconds of processor time at every start
(peft 0.21, measured). Nothing here is ever wrapped: adapters are put into the model itself. Whoever trains peft's
wrappers with the library's own trainer in the same process imports that first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import transformers.utils


@contextmanager
def _without_peft() -> Iterator[None]:
    usual = transformers.utils.is_peft_available
    transformers.utils.is_peft_available = lambda: False
    try:
        yield
    finally:
        transformers.utils.is_peft_available = usual


with _without_peft():
    from transformers import (
        PrinterCallback,
        ProgressCallback,
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
    )
    from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
    from transformers.trainer_callback import ExportableState
    from transformers.trainer_pt_utils import nested_gather

__all__ = [
    "OPTIMIZER_NAME",
    "SCHEDULER_NAME",
    "ExportableState",
    "PrinterCallback",
    "ProgressCallback",
    "Trainer",
    "TrainerCallback",
    "TrainerControl",
    "TrainerState",
    "TrainingArguments",
    "nested_gather",
]
