"""A progress bar over training, on the terminal of the first process and nowhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from runs.checkpoints import ENDLESS
from trainers.hf_trainer import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trainers.processes import is_first


def on_terminal() -> bool:
    """Whether somebody looks at this process: the first one, with a terminal as its standard error."""
    return is_first() and sys.stderr.isatty()


@contextmanager
def progress_shown(trainer: Any) -> Iterator[None]:
    """Draw a bar for as long as this lasts, if there is a terminal; it is closed however training ends.

    Args:
        trainer: A transformers ``Trainer``.
    """
    if not on_terminal():
        yield
        return
    bar = ProgressBar()
    trainer.add_callback(bar)
    try:
        yield
    finally:
        bar.close()


class ProgressBar(TrainerCallback):
    """One bar over the optimizer steps, with the time left, the newest loss and validation.

    The time left comes from the mean pace since this start, so that validations and saves have their share in it.
    """

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self._said: dict[str, str] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Open the bar where the run stands: a resumed one not at 0."""
        self.bar = tqdm(
            total=state.max_steps if state.max_steps < ENDLESS else None,
            initial=state.global_step,
            desc="training",
            unit="step",
            smoothing=0,
            dynamic_ncols=True,
        )
        for entry in state.log_history:
            self._note(args, entry)
        self._show()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """One step on."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Show the newest numbers, of training and of validation."""
        self._note(args, {"epoch": state.epoch} | (logs or {}))
        self._show()

    def close(self) -> None:
        """Leave the bar as it is and go on below it; a second time does nothing."""
        if self.bar is not None:
            self.bar.close()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Close the bar."""
        self.close()

    def _note(self, args: TrainingArguments, logs: Mapping[str, Any]) -> None:
        chosen_by = str(args.metric_for_best_model)
        shown = {"epoch": "epoch", "loss": "loss", chosen_by: f"val {chosen_by.removeprefix('eval_')}"}
        for name, label in shown.items():
            value = logs.get(name)
            if isinstance(value, int | float):
                self._said[label] = f"{value:.2f}" if name == "epoch" else f"{value:.3f}"

    def _show(self) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(", ".join(f"{label} {value}" for label, value in self._said.items()))
