"""Keeps NaN and infinity out of the weights: a step with a bad number is left out, several in a row end the run."""

from __future__ import annotations

import logging
import math
import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from runs.checkpoints import complete_steps
from trainers.processes import agree, gather, is_first
from utils.errors import NoNumbers
from utils.io import append_jsonl

logger = logging.getLogger(__name__)

FILE_NAME = "bad_steps.jsonl"
BAD_STEPS = 3
"""So many bad steps in a row end the run: one may come from its rows, three come from the weights or the settings."""
WINDOW = 128
"""Steps that a number is compared with."""
WARM_UP = 64
"""Steps before anything is compared."""
SPIKE = 12.0
"""A number is a spike when it lies so many median deviations above the median of its window."""
LEAST_DEVIATION = 0.05
"""The median deviation counts as this share of the median at least, or a very even window would make spikes of
anything."""

ADVICE = (
    "Look at these examples; if they are sound, start again in another work_dir with a lower train.lr, a longer "
    "train.warmup, or train.precision=fp32."
)


class SpikeWindow:
    """Recent values of a number, and whether one stands far above them.

    Spikes are values of the window as well: after a lasting rise nothing is a spike any more.
    """

    def __init__(self, values: Iterable[float] = ()) -> None:
        self.values = deque(values, WINDOW)

    def limit(self) -> float:
        """Where spikes begin; infinite until the window has warmed up."""
        if len(self.values) < WARM_UP:
            return math.inf
        middle = statistics.median(self.values)
        deviation = statistics.median(abs(value - middle) for value in self.values)
        return middle + SPIKE * max(deviation, LEAST_DEVIATION * abs(middle))

    def add(self, value: float) -> None:
        """Remember a value, in place of the oldest."""
        self.values.append(value)


class NumbersGuard:
    """Looks at the numbers of every optimizer step between its backward passes and its update.

    A step is bad if its loss, the norm of its gradient, a reward, an advantage or the learning rate is not finite. It
    is counted, and the learning rate goes on as planned, but weights, moments, batch norms and what is logged stay as
    if it had not been; its examples are written down. All processes decide alike: gradients and losses are sums over
    them. The device is waited for once a step.

    Args:
        trainer: A :class:`trainers.base.BaseTrainer`, whose steps they are; it imports this module.
        folder: Of the run; None writes nothing down.
        skips_spikes: Leave spikes out too, which are told otherwise.

    Attributes:
        was_skipped: The last step was left out.
    """

    def __init__(self, trainer: Any, folder: Path | None, *, skips_spikes: bool = False) -> None:
        self.trainer, self.skips_spikes = trainer, skips_spikes
        self.file = None if folder is None else folder / FILE_NAME
        self.was_skipped = False
        self._windows = {"loss": SpikeWindow(), "grad_norm": SpikeWindow()}
        self._in_a_row = self._taken = self._skipped = 0
        self._noted: dict[str, float] = {}
        self._loss_before = torch.zeros(())

    def begin_step(self) -> None:
        """Forget the last step."""
        self.forget_attempt()
        self._loss_before = self.trainer._tr_loss.clone()

    def forget_attempt(self) -> None:
        """Drop what was noted of this step, which is done again."""
        self._noted = {}

    def note(self, **sums: float) -> None:
        """Add numbers of this step that must be finite; every process notes the same names, from the CPU."""
        for name, value in sums.items():
            self._noted[name] = self._noted.get(name, 0.0) + value

    def check(self, norm: Tensor) -> None:
        """Look at the step whose gradients are ready; if it is bad they are dropped, and its update does nothing.

        Args:
            norm: Of the gradient, before it was clipped.

        Raises:
            NoNumbers: If it is the last of ``BAD_STEPS`` in a row.
        """
        numbers = self._read(norm)
        bad = {name: value for name, value in numbers.items() if not math.isfinite(value)}
        self.was_skipped = bool(bad)
        if bad.keys() == {"grad_norm"} and self._scale_is_sought():
            self.was_skipped = False
            return
        if bad:
            self._in_a_row += 1
            self._skip("bad", bad)
            if self._in_a_row >= BAD_STEPS:
                raise NoNumbers(self._describe_end(bad))
            return
        self._in_a_row = 0
        self._look_for_spikes(numbers)
        if not self.was_skipped:
            self._taken += 1

    def corrected(self, logs: dict[str, float]) -> dict[str, float]:
        """A log entry of training, its loss a mean over the steps that were not left out."""
        taken, skipped, self._taken, self._skipped = self._taken, self._skipped, 0, 0
        if not skipped:
            return logs
        kept = {name: value for name, value in logs.items() if math.isfinite(value)}
        loss = kept.pop("loss")
        return kept | ({"loss": loss * (taken + skipped) / taken} if taken else {}) | {"skipped_steps": skipped}

    @torch.no_grad()
    def check_weights(self, module: nn.Module) -> None:
        """Refuse to save weights that are no numbers.

        Raises:
            NoNumbers: Naming the first of them.
        """
        named = [*module.named_parameters(), *module.named_buffers()]
        checked = [(name, tensor) for name, tensor in named if isinstance(tensor, nn.Parameter) or "running_" in name]
        finite = torch.stack([_local(tensor).isfinite().all() for _, tensor in checked]).tolist()
        bad = [name for (name, _), is_finite in zip(checked, finite, strict=True) if not is_finite]
        if agree(bool(bad)):
            first = bad[0] if bad else "in another process"
            raise NoNumbers(
                f"step {self.trainer.state.global_step}: weights are NaN or infinite ({first}); they are not saved. "
                f"{self._describe_checkpoint()} Go on from there with a lower train.lr in another work_dir."
            )

    def state_dict(self) -> dict[str, Any]:
        """JSON-like; for :meth:`load_state_dict`."""
        windows = {name: [*window.values] for name, window in self._windows.items()}
        return {
            "windows": windows,
            "in_a_row": self._in_a_row,
            "taken": self._taken,
            "skipped": self._skipped,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what :meth:`state_dict` gave; what is missing starts anew."""
        windows = state.get("windows", {})
        self._windows = {name: SpikeWindow(windows.get(name, ())) for name in self._windows}
        self._in_a_row, self._taken, self._skipped = (
            int(state.get(name, 0)) for name in ("in_a_row", "taken", "skipped")
        )

    def _read(self, norm: Tensor) -> dict[str, float]:
        trainer = self.trainer
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        noted = torch.tensor([*self._noted.values()], dtype=torch.float32)
        # Scaled up by the number of processes, as gradients are averaged over them.
        loss = trainer.pieces.loss().detach().float()[None] / trainer.args.world_size
        summed = trainer.sum_over_processes(torch.cat([loss, noted.to(loss.device, non_blocking=True)]))
        values = torch.cat([norm.detach().float().to(loss.device)[None], summed]).tolist()  # waits for the device
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        bad_rates = [rate for rate in rates if not math.isfinite(rate)]
        return dict(zip(("grad_norm", "loss", *self._noted), values, strict=True)) | {"lr": [*bad_rates, *rates][0]}

    def _scale_is_sought(self) -> bool:
        """Whether the gradient overflowed because fp16's loss scale is still too high: the scaler sees to that."""
        scaler = self.trainer.accelerator.scaler
        return scaler is not None and scaler.is_enabled() and scaler.get_scale() > 1.0

    def _look_for_spikes(self, numbers: Mapping[str, float]) -> None:
        found = {name: numbers[name] for name, window in self._windows.items() if numbers[name] > window.limit()}
        for name, window in self._windows.items():
            window.add(numbers[name])
        if self.skips_spikes:
            self.was_skipped = agree(bool(found))  # devices of two kinds may round a norm to either side of the limit
        if self.was_skipped:
            self._skip("spike", found)
        elif found and is_first():
            self._write("spike", found, self._rows(), skipped=False)

    def _skip(self, kind: str, found: Mapping[str, float]) -> None:
        self._skipped += 1
        rows = [row for part in gather(self._rows()) for row in part]
        self.trainer.forget_bad_step()
        self.trainer._tr_loss.copy_(self._loss_before)
        if is_first():
            self._write(kind, found, rows, skipped=True)

    def _rows(self) -> list[int]:
        return [row for batch in self.trainer.pieces.batches for row in batch["rows"].tolist()]

    def _write(self, kind: str, found: Mapping[str, float], rows: list[int], *, skipped: bool) -> None:
        state, names = self.trainer.state, self.trainer.name_rows(rows)
        told = ", ".join(f"{name} {value:.4g}" for name, value in found.items())
        logger.warning("step %d: %s (%s)%s", state.global_step + 1, told, kind, "; it was left out" if skipped else "")
        if self.file is not None:
            row = {"global_step": state.global_step + 1, "epoch": self.trainer.train_dataset.epoch, "kind": kind}
            row |= {"found": {name: str(value) for name, value in found.items()}, "skipped": skipped}
            append_jsonl(self.file, row | {"in_a_row": self._in_a_row, "rows": rows, "example_ids": names})

    def _describe_end(self, bad: Mapping[str, float]) -> str:
        told = ", ".join(f"{name} is {value}" for name, value in bad.items())
        step = self.trainer.state.global_step + 1
        where = "" if self.file is None else f" Their examples are in {self.file}."
        return (
            f"step {step}: {told}; the last of {BAD_STEPS} bad steps in a row. They were left out, so the weights are "
            f"those of before.{where} {self._describe_checkpoint()} {ADVICE}"
        )

    def _describe_checkpoint(self) -> str:
        store = self.trainer.checkpoints
        steps = [] if store is None else complete_steps(store.run)
        if store is None or not steps:
            return "There is no checkpoint yet."
        return f"The last good checkpoint is {store.run.checkpoint(steps[0])}."


def _local(tensor: Tensor) -> Tensor:
    """This process's part of a tensor that is shared out."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part.detach()
