"""How far a trial has come, read from what it wrote into its run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs.folder import Run
from runs.metrics_log import has_reached, read_metrics
from utils.io import read_json


@dataclass(frozen=True)
class Validation:
    """Numbers of one validation."""

    step: int
    epoch: float
    nll: float | None
    """Nats per token."""
    cider: float | None
    """CIDEr of the validation captions; None if checkpoints are not chosen by it."""


@dataclass(frozen=True)
class Progress:
    """What a trial's ``metrics.jsonl`` says."""

    step: int = 0
    epoch: float = 0.0
    loss: float | None = None
    """Newest training loss."""
    validations: tuple[Validation, ...] = ()
    """In the order of training."""

    def validation_at(self, epochs: float) -> Validation | None:
        """The first validation at or after so many epochs; its checkpoint may still be missing."""
        return next((found for found in self.validations if has_reached(found.epoch, epochs)), None)

    def value_at(self, epochs: float, select: str) -> float | None:
        """The best validation number among those up to the first at or after ``epochs``, higher is better.

        Args:
            epochs: Place of the comparison.
            select: "CIDEr", or "loss" for minus the negative log-likelihood (nats per token), which unlike the loss
                does not depend on label smoothing.

        Returns:
            The number; None if training has not come so far.
        """
        until = self.validation_at(epochs)
        if until is None or self._best([until], select) is None:  # a loss that is no number is written as null
            return None
        return self._best([found for found in self.validations if found.step <= until.step], select)

    def best_value(self, select: str) -> float | None:
        """The best validation number so far, as in :meth:`value_at`; None before the first."""
        return self._best(self.validations, select)

    def _best(self, validations: Sequence[Validation], select: str) -> float | None:
        if select == "CIDEr":
            values = [validation.cider for validation in validations if validation.cider is not None]
        else:
            values = [-validation.nll for validation in validations if validation.nll is not None]
        return max(values, default=None)


def read_progress(run: Run) -> Progress:
    """How far a trial has come, from its ``metrics.jsonl``."""
    rows = read_metrics(run.metrics).rows
    if not rows:
        return Progress()
    losses = [loss for row in rows if (loss := row.numbers.get("train/loss")) is not None]
    validations = [
        Validation(row.step, row.epoch, row.numbers.get("val/nll"), row.numbers.get("val/CIDEr"))
        for row in rows
        if "val/loss" in row.numbers
    ]
    last = rows[-1]
    return Progress(last.step, last.epoch, losses[-1] if losses else None, tuple(validations))


def has_weights(model: Path) -> bool:
    """Whether a model folder has its weights; those of a sweep's losers may have been deleted."""
    return any(path.suffix in (".bin", ".safetensors") for path in model.glob("*"))


def read_results(run: Run, split: str) -> dict[str, Any] | None:
    """The results of a trained trial; None if there are none yet.

    Raises:
        ValueError: If the file is damaged, for example cut short.
    """
    path = run.eval / f"{split}.json"
    if not path.exists():
        return None
    try:
        results = read_json(path)
        if not isinstance(results, dict) or not isinstance(results.get("overall"), dict):
            raise ValueError(f"{path}: is not a results file")
    except ValueError as error:
        raise ValueError(
            f"{error}; the file was cut short or changed. Remove it and start the sweep again: "
            "the trained model is there and is only evaluated anew"
        ) from error
    return results
