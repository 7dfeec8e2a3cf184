"""What watches training: numbers into the run folder, a line for people, alarms, pauses."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from runs.checkpoints import ENDLESS
from runs.metrics_log import append_metrics, has_reached
from trainers.hf_trainer import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trainers.processes import agree, broadcast, is_first
from utils.errors import NoNumbers
from utils.signals import stop_requested

logger = logging.getLogger(__name__)

RENAMED = {"learning_rate": "train/lr"}
NOT_RECORDED = {
    *("epoch", "num_input_tokens_seen", "total_flos", "train_loss", "train_runtime"),
    *("train_samples_per_second", "train_steps_per_second", "train_tokens_per_second"),
}
"""What a Trainer logs besides: said elsewhere, or about the program and not about training."""


def to_metrics(logs: dict[str, Any]) -> dict[str, float]:
    """Trainer's log entry under the names of ``metrics.jsonl``: all that was gathered, ``train/...`` or ``val/...``."""
    named = {_name(key): value for key, value in logs.items() if key not in NOT_RECORDED}
    return {key: value for key, value in named.items() if isinstance(value, int | float)}


def _name(key: str) -> str:
    if key.startswith("eval_"):
        return f"val/{key.removeprefix('eval_')}"
    return RENAMED.get(key, f"train/{key}")


class RunRecorder(TrainerCallback):
    """Appends every log entry to ``metrics.jsonl`` and says it in the log.

    Args:
        metrics_file: JSON Lines; each row has ``global_step``, ``epoch`` and ``time``, seconds since 1970.
    """

    def __init__(self, metrics_file: Path) -> None:
        self.metrics_file = metrics_file

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Record on rank 0."""
        metrics = to_metrics(logs or {})
        if not metrics or not state.is_world_process_zero:
            return
        epoch = state.epoch or 0.0
        append_metrics(self.metrics_file, state.global_step, epoch, metrics | {"time": round(time.time(), 2)})
        numbers = ", ".join(f"{key} {value:.4g}" for key, value in metrics.items())
        end = f"/{state.max_steps}" if state.max_steps < ENDLESS else ""
        logger.info("step %d%s, epoch %.2f: %s", state.global_step, end, epoch, numbers)


class StopOnNan(TrainerCallback):
    """Ends training when a validation loss is no number; ``trainers.numbers`` sees to the steps of training."""

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Raise on a loss that is not finite; validation comes before its checkpoint, so nothing broken is saved."""
        loss = (logs or {}).get("eval_loss", 0.0)
        if not math.isfinite(loss):
            raise NoNumbers(
                f"step {state.global_step}: the validation loss is {loss}. Start again in another work_dir with a "
                "lower train.lr, a longer train.warmup, or train.precision=fp32."
            )


class PauseAfter(TrainerCallback):
    """Ends training at a checkpoint in the middle of the schedule, from which the same run goes on later.

    It adds neither a validation nor a checkpoint, so that pausing does not change the weights that a run ends up with.

    Args:
        epochs: Pause at the first checkpoint at or after so many; above 0.
    """

    def __init__(self, epochs: float) -> None:
        self.epochs = epochs

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop if it is time and there is something left to train."""
        if has_reached(state.epoch or 0.0, self.epochs) and state.global_step < state.max_steps:
            control.should_training_stop = True
            # What a Trainer does when training is over would load the best weights.
            args.load_best_model_at_end = False


class StepClock(TrainerCallback):
    """Ends training after a few steps, neither validated nor saved, and knows how long they took.

    Args:
        steps: So many, at least 2.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._ends: list[float] = []

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Note the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._ends.append(time.monotonic())
        control.should_evaluate = control.should_save = False
        control.should_training_stop = len(self._ends) >= self.steps

    def seconds_per_step(self) -> float:
        """From the end of one step to that of the next, the median: the first step, which is slower, does not count."""
        return statistics.median(after - before for before, after in zip(self._ends, self._ends[1:], strict=False))


class SaveEvery(TrainerCallback):
    """Saves a checkpoint after every so many optimizer steps, besides those of the validations.

    Args:
        steps: So many.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Ask for it where it is due."""
        control.should_save = control.should_save or state.global_step % self.steps == 0


class EndAfter(TrainerCallback):
    """Ends training when it has taken so long, those starts that were interrupted counted.

    Args:
        hours: Of training.
        trainer: Whose ``seconds_before`` tells what earlier starts took; see ``trainers.resumable``.
    """

    def __init__(self, hours: float, trainer: Any) -> None:
        self.hours, self.trainer = hours, trainer

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look at the clock of the first process."""
        if broadcast(is_first() and self.trainer.seconds() >= 3600 * self.hours):
            self.trainer.end_here()


class StopOrSave(TrainerCallback):
    """Between two steps, hears signals, and the wish for a checkpoint now.

    Args:
        stop: Called when a signal has asked any process to stop.
        save_now: A checkpoint is saved when somebody makes this file, which is removed then.
        every_minutes: A checkpoint is saved so long after the last; None = only with validations.
    """

    def __init__(self, stop: Callable[[], None], save_now: Path, every_minutes: float | None = None) -> None:
        self.stop, self.save_now, self.every_minutes = stop, save_now, every_minutes
        self.saved_at = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Look, and ask for what is wanted."""
        if agree(stop_requested()):
            self.stop()
        elif broadcast(is_first() and self._wants_save()):
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The minutes count from here."""
        self.saved_at = time.monotonic()

    def _wants_save(self) -> bool:
        asked = self.save_now.exists()
        if asked:
            self.save_now.unlink(missing_ok=True)
        is_due = self.every_minutes is not None and time.monotonic() - self.saved_at >= 60 * self.every_minutes
        return asked or is_due
