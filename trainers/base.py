"""The half of a trainer that knows no model: token means over whole steps, seeded draws, numbers, rows that fit."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler

from preprocessors.workers import worker_init
from runs.checkpoints import ENDLESS
from trainers import processes
from trainers.fitting import FittingRows
from trainers.hf_trainer import PrinterCallback, ProgressCallback, TrainerCallback, TrainingArguments
from trainers.memory import StepPieces
from trainers.monitoring import StepMeter
from trainers.numbers import NumbersGuard
from trainers.pieces import StepStart
from trainers.probing import find_rows
from trainers.resumable import ResumableTrainer
from trainers.schedule import EpochSampler, InOrder, SimilarLengths, polynomial_decay, rise_and_stay


class Rows(Protocol):
    """What a trainer takes of data to validate on."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, row: int, /) -> Any:
        """One row, as the collator takes it."""


class EpochData(Rows, Protocol):
    """What a trainer takes of data to train on, whose rows depend on the epoch."""

    @property
    def epoch(self) -> int:
        """The epoch that rows are drawn for."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next rows are drawn for."""


class BaseTrainer(ResumableTrainer):
    """Transformers' loop made exact; a subclass says what is counted and what is minimised.

    The loss is a sum over tokens, divided by the tokens of the whole optimizer step: over all micro-batches and all
    processes, so 1 x 8, 2 x 4 and 4 accumulation steps give the same update. Order and rows depend on (seed, epoch,
    row), dropout on (seed, step, micro-batch, rank). Gradients always pass through the wrapped module.

    Args:
        module: What is trained; frozen parts already have ``requires_grad`` off.
        args: Trainer's arguments; ``learning_rate`` is the peak.
        train_dataset: Rows to train on.
        eval_dataset: Rows to validate on.
        collator: Rows to batches of tensors.
        row_groups: Training rows that follow one another, see :class:`EpochSampler`.
        in_order: Rows are taken as they stand, from data that has an order of its own.
        length_of: Length of a training row in an epoch; rows of about one length make a batch then.
        warmup: Share of the steps in which the learning rate rises; of a training without an end of the first epoch's.
        lr_end: Learning rate at the last step.
        num_cycles: Half cosines in which it falls; None falls linearly.
        folder: Where bad steps and the rows that fit into memory are written down; None writes nothing.
        finds_rows: Find out first how many rows fit into memory at once.
        skips_spikes: Leave out optimizer steps whose loss or gradient stands far out.
        finish_batch: Makes of a batch on the device what :meth:`step_loss` takes; done twice it changes nothing more.
            None takes it as the collator made it.
        callbacks: More observers.
        **others: As for :class:`trainers.resumable.ResumableTrainer`.

    Attributes:
        pieces: Divides micro-batches that do not fit into memory.
        numbers: Keeps bad numbers out of the weights.
    """

    lr_scheduler: Any
    control: Any

    def __init__(
        self,
        module: nn.Module,
        args: TrainingArguments,
        *,
        train_dataset: EpochData,
        eval_dataset: Rows,
        collator: Callable[[Any], Any],
        row_groups: Sequence[Sequence[int]] | None = None,
        in_order: bool = False,
        length_of: Callable[[int, int], int] | None = None,
        warmup: float = 0.0,
        lr_end: float = 0.0,
        num_cycles: int | None = None,
        folder: Path | None = None,
        finds_rows: bool = False,
        skips_spikes: bool = False,
        finish_batch: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
        **others: Any,
    ) -> None:
        data: dict[str, Any] = {"data_collator": collator, "train_dataset": train_dataset, "eval_dataset": eval_dataset}
        super().__init__(module, args, **data, **others)
        for spoken in (ProgressCallback, PrinterCallback):  # both write to stdout, which belongs to the results
            self.remove_callback(spoken)
        for callback in (_EpochForData(self), *callbacks):
            self.add_callback(callback)
        self.warmup, self.lr_end, self.num_cycles = warmup, lr_end, num_cycles
        self.loss_is_scaled_for_ga = True
        lengths = None if length_of is None else SimilarLengths(length_of, args.per_device_train_batch_size)
        self._sampler: EpochSampler | InOrder = (
            InOrder(train_dataset) if in_order else EpochSampler(train_dataset, args.seed, row_groups, lengths)
        )
        self.meter = StepMeter(self._sum_numbers if args.world_size > 1 else None)
        self._micro_step = 0
        self.finds_rows, self.finish_batch = finds_rows, finish_batch
        self.pieces = StepPieces(self, FittingRows(folder, args.device))
        self.pieces.halving.rows = self.pieces.fitting.recall()
        self.numbers = NumbersGuard(self, folder, skips_spikes=skips_spikes)
        self._step_start: StepStart | None = None

    @property
    def may_split(self) -> bool:
        """Whether the losses of a micro-batch's pieces add up to its own."""
        return True

    def count_tokens(self, batches: Sequence[Mapping[str, Tensor]]) -> Sequence[int]:
        """What the losses of these micro-batches are means over, a number for each kind of loss."""
        raise NotImplementedError

    def step_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: Tensor) -> Tensor:
        """Share of a micro-batch in the loss of the step.

        Args:
            model: The wrapped module.
            batch: On the device.
            tokens: What :meth:`count_tokens` counts, over the whole step and all processes.
        """
        raise NotImplementedError

    def validate(self) -> dict[str, float]:
        """Numbers of a validation by name, ``loss`` among them; in evaluation mode."""
        raise NotImplementedError

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._sampler

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Linear warm-up, then the decay, if there is an end to come to."""
        if self.lr_scheduler is None:
            chosen, lr = self.optimizer if optimizer is None else optimizer, self.args.learning_rate
            if num_training_steps >= ENDLESS:
                self.lr_scheduler = rise_and_stay(chosen, round(self.warmup * self._steps_of_an_epoch()))
            else:
                told = (num_training_steps, self.warmup, lr, self.lr_end, self.num_cycles)
                self.lr_scheduler = polynomial_decay(chosen, *told)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _steps_of_an_epoch(self) -> int:
        args = self.args
        rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
        return -(-len(self.train_dataset) // rows)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor:
        return self.sum_over_processes(torch.tensor([*self.count_tokens(batch_samples)], device=device))

    def sum_over_processes(self, numbers: Tensor) -> Tensor:
        """The sum of what all processes have."""
        return self.accelerator.reduce(numbers, "sum") if self.args.world_size > 1 else numbers

    def _sum_numbers(self, numbers: Tensor) -> Tensor:
        return self.sum_over_processes(numbers.to(self.args.device)).cpu()

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Tensor:
        """One micro-batch, in pieces if it does not fit into memory."""
        return self.pieces.run(model, inputs, num_items_in_batch)

    def get_train_dataloader(self) -> Any:
        """Trainer's, with workers that end with this process, and none that it waits for without end."""
        loader = super().get_train_dataloader()
        inner = getattr(loader, "base_dataloader", loader)  # which accelerate asks for its batches
        inner.worker_init_fn = worker_init(inner.worker_init_fn)
        if inner.num_workers:
            inner.timeout = processes.WORKER_PATIENCE
        return loader

    def _prepare_inputs(self, inputs: Any) -> Any:
        there = super()._prepare_inputs(inputs)
        return there if self.finish_batch is None else self.finish_batch(there)

    def run_piece(self, model: nn.Module, piece: Any, tokens: Any, micro: int, number: int, count: int) -> Tensor:
        """Forward and backward pass of a piece of a micro-batch, under dropout masks of its own."""
        self.seed_piece(micro, number, count)
        self._micro_step = micro + 1
        return super().training_step(model, piece, tokens)

    def seed_piece(self, micro: int, number: int, count: int) -> None:
        """Fix the random numbers of a piece: its number of so many in the step's ``micro``-th micro-batch."""
        place = f"{self.args.seed}/{self.state.global_step}/{micro}/{self.args.process_index}"
        place += f"/{number}/{count}" if count > 1 else ""
        torch.manual_seed(random.Random(place).getrandbits(63))

    def begin_pieces(self, model: nn.Module, micro: int, pieces: Sequence[dict[str, Tensor]]) -> None:
        """Do what has to see a whole micro-batch before its pieces are run one after another."""

    def begin_step(self) -> None:
        """Remember what a step that fails, or is bad, has to put back."""
        if self._step_start is None:
            self._step_start = StepStart(self.model)
        self._step_start.keep()
        self.meter.begin_step()
        self.pieces.begin_step()
        self.numbers.begin_step()

    def forget_attempt(self) -> None:
        """Drop all that the open step has done so far, to do it again."""
        assert self._step_start is not None
        self.model_wrapped.zero_grad()
        self._step_start.restore()
        self.meter.forget_step()
        self.numbers.forget_attempt()

    def forget_bad_step(self) -> None:
        """Drop all that the open step has done, but for the random numbers; its update does nothing then."""
        assert self._step_start is not None
        self.model_wrapped.zero_grad()
        self._step_start.restore_statistics()
        self.meter.forget_step()

    def name_rows(self, rows: Sequence[int]) -> list[str]:
        """What people call these rows of the training set; empty if they have no names."""
        examples = getattr(self.train_dataset, "examples", [])
        return [str(examples[row].example_id) for row in rows] if examples else []

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        norm = super()._clip_grad_norm(model)
        self.numbers.check(norm)
        return norm

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], num_items_in_batch: Any) -> Tensor:
        """The step's share of a micro-batch; scaled up, because gradients are averaged over the processes."""
        loss = self.step_loss(model, inputs, num_items_in_batch) * self.args.world_size
        self.pieces.before_backward()
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log an entry; one of training gets everything that was gathered since the last, without weights."""
        super().log(self.numbers.corrected(logs) | self.meter.drain() if "loss" in logs else logs, start_time)

    def extra_state(self) -> dict[str, Any]:
        """Also the rows that fit into memory, and what the numbers of steps are compared with."""
        return super().extra_state() | {"memory": self.pieces.state_dict(), "numbers": self.numbers.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave."""
        super().load_extra_state(state)
        self.pieces.load_state_dict(state.get("memory", {}))
        self.numbers.load_state_dict(state.get("numbers", {}))

    def find_rows(self) -> None:
        """Find out how many rows fit into memory at once, if that is wanted and this device has not told yet."""
        if self.finds_rows and self.pieces.fitting.recall() is None:
            self.pieces.halving.rows = find_rows(self, self.model_wrapped)

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Numbers of a validation, named ``eval_...``.

        Raises:
            StopRequested: If a signal came; nothing is logged then.
        """
        self.model.eval()
        try:
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.validate().items()}
        finally:
            self.model.train()
        self.log(metrics)
        self._scored = self.state.global_step, metrics.get(str(self.args.metric_for_best_model))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


class _EpochForData(TrainerCallback):
    """Tells data set and sampler the epoch, starts the count of micro-batches with each step, resumes the loop."""

    def __init__(self, trainer: BaseTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.find_rows()
        self.trainer.catch_up()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = int(state.epoch or 0)
        self.trainer.train_dataset.set_epoch(epoch)
        self.trainer._sampler.set_epoch(epoch)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer._micro_step = 0
        self.trainer.begin_step()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.average_batch_norm()
