"""The half of a trainer that knows no model: token means over whole steps, seeded draws, numbers, exact resume."""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_pt_utils import nested_gather
from transformers.utils import SAFE_WEIGHTS_NAME

from trainers.checkpoints import CheckpointStore
from trainers.fitting import FittingRows
from trainers.memory import StepPieces, explained
from trainers.monitoring import StepMeter
from trainers.numbers import NumbersGuard
from trainers.pieces import StepStart
from trainers.probing import find_rows
from trainers.schedule import EpochSampler, SimilarLengths, polynomial_decay
from trainers.sharding import Shards
from utils.io import write_text
from utils.signals import StopRequested, waiting

LOOP_FILE = "loop_state.json"
"""Numbers of the training loop that transformers' state lacks."""
STATE_FILE = "trainer_state.json"
"""Transformers' state."""


class EpochData(Protocol):
    """A data set whose rows depend on the epoch."""

    @property
    def epoch(self) -> int:
        """The epoch that rows are drawn for."""

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, row: int) -> Any:
        """One row."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, that the next rows are drawn for."""


class BaseTrainer(Trainer):
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
        length_of: Length of a training row in an epoch; rows of about one length make a batch then.
        warmup: Share of the steps in which the learning rate rises.
        lr_end: Learning rate at the last step.
        save_companions: Called with each checkpoint folder, writes what the weights need beside them.
        checkpoints: Where checkpoints go; None = this training saves none.
        folder: Where bad steps and the rows that fit into memory are written down; None writes nothing.
        finds_rows: Find out first how many rows fit into memory at once.
        skips_spikes: Leave out optimizer steps whose loss or gradient stands far out.
        callbacks: More observers.
        whole: The same module once more: ``module``, which nobody else has, is then dealt out among the processes, and
            this one has weights at validations, in what is saved, and once training is over.

    Attributes:
        awaits_validation: The validation that is due at this step was put off, because a signal came first; a training
            that goes on from here makes up for it.
        is_stopped: A signal ended training before its end.
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
        eval_dataset: Any,
        collator: Callable[[Any], Any],
        row_groups: Sequence[Sequence[int]] | None = None,
        length_of: Callable[[int, int], int] | None = None,
        warmup: float = 0.0,
        lr_end: float = 0.0,
        save_companions: Callable[[Path], None] | None = None,
        checkpoints: CheckpointStore | None = None,
        folder: Path | None = None,
        finds_rows: bool = False,
        skips_spikes: bool = False,
        callbacks: Sequence[TrainerCallback] = (),
        whole: nn.Module | None = None,
    ) -> None:
        self.shards = None if whole is None else Shards(whole, module)
        super().__init__(module, args, data_collator=collator, train_dataset=train_dataset, eval_dataset=eval_dataset)
        # A Trainer then leaves the module as it is. It learns so only now, since it refuses to save such a module's
        # optimizer, which this class does.
        self.is_distributed_loading_by_transformers = self.shards is not None
        for spoken in (ProgressCallback, PrinterCallback):  # both write to stdout, which belongs to the results
            self.remove_callback(spoken)
        for callback in (_EpochForData(self), *callbacks):
            self.add_callback(callback)
        self.warmup, self.lr_end, self.save_companions, self.checkpoints = warmup, lr_end, save_companions, checkpoints
        self.awaits_validation = self.is_stopped = False
        self._resumed: dict[str, Any] = {}
        self._scored: tuple[int, float | None] = (0, None)
        self.loss_is_scaled_for_ga = True
        lengths = None if length_of is None else SimilarLengths(length_of, args.per_device_train_batch_size)
        self._sampler = EpochSampler(train_dataset, args.seed, row_groups, lengths)
        self.meter = StepMeter(self._sum_numbers if args.world_size > 1 else None)
        self._micro_step = 0
        self.finds_rows = finds_rows
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

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        if self.shards is None:  # shards are where they belong, and cannot be moved
            super()._move_model_to_device(model, device)

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self._sampler

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """Linear warm-up, linear decay."""
        if self.lr_scheduler is None:
            chosen = self.optimizer if optimizer is None else optimizer
            lr = self.args.learning_rate
            self.lr_scheduler = polynomial_decay(chosen, num_training_steps, self.warmup, lr, self.lr_end)
            self._created_lr_scheduler = True
        return self.lr_scheduler

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

    def train(self, resume_from_checkpoint: Any = None, **others: Any) -> Any:
        """Train, from a checkpoint or from the beginning; signals are heard at the end of a step.

        A whole module beside the one in shards has the weights afterwards.
        """
        if resume_from_checkpoint is not None:
            self._resumed = json.loads((Path(resume_from_checkpoint) / LOOP_FILE).read_bytes())
        with waiting(), explained():
            done = super().train(resume_from_checkpoint, **others)
        if self.shards is not None:
            self.shards.gather()
        return done

    def stop_here(self) -> None:
        """Ask for a checkpoint at the end of this step and for the end of training; a due validation is put off."""
        self.awaits_validation, self.is_stopped = self.control.should_evaluate, True
        self.control.should_evaluate = False
        self.control.should_save = self.control.should_training_stop = True
        # What a Trainer does when training is over would load the best weights in place of these.
        self.args.load_best_model_at_end = False

    def catch_up(self) -> None:
        """Take up the loop where the checkpoint left it, with the validation that it awaits."""
        if not self._resumed:
            return
        self._tr_loss += self._resumed["loss_since_log"]
        self._globalstep_last_logged = self._resumed["last_logged"]
        self.meter.load_state(self._resumed["meter"])
        self.load_extra_state(self._resumed["extra"])
        if self._resumed["awaits_validation"]:
            self.control.should_evaluate = self.control.should_save = True
            epoch = self.state.epoch or 0.0
            super()._maybe_log_save_evaluate(self._tr_loss, None, self.model_wrapped, None, epoch, None, time.time())

    def extra_state(self) -> dict[str, Any]:
        """What is to be found again when training goes on, JSON-like."""
        return {"memory": self.pieces.state_dict(), "numbers": self.numbers.state_dict()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave."""
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
        self._average_batch_norm()
        self.model.eval()
        try:
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.validate().items()}
        finally:
            self.model.train()
        self.log(metrics)
        self._scored = self.state.global_step, metrics.get(str(self.args.metric_for_best_model))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._maybe_log_save_evaluate(*args, **kwargs)
        except StopRequested:  # in the midst of a validation, before its numbers were there
            self.stop_here()
            super()._maybe_log_save_evaluate(*args, **kwargs)

    def _average_batch_norm(self) -> None:
        """Give all processes the mean of their running statistics, which each gathered on its own rows."""
        if self.args.world_size == 1:
            return
        for name, buffer in self.model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                dist.all_reduce(buffer)
                buffer /= self.args.world_size

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        done = super()._init_training_state(*args, **kwargs)
        best = self.state.best_global_step
        if self.checkpoints is not None and best:
            # Transformers forgets a best checkpoint that is lost, and would end with the last weights without a word.
            self.state.best_model_checkpoint = str(self.checkpoints.run.checkpoint(best))
            self.checkpoints.warn_of_lost_best(best)
        return done

    def _load_best_model(self) -> None:
        if self.checkpoints is not None and self.state.best_global_step:
            self.state.best_model_checkpoint = str(self.checkpoints.best(self.state.best_global_step).folder)
        if self.shards is None:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.checkpoints is None:
            raise ValueError("this training was made without a place for checkpoints")
        self.numbers.check_weights(self.model)
        self._average_batch_norm()
        self.store_flos()
        if self.state.best_global_step:
            best = self.checkpoints.run.checkpoint(self.state.best_global_step)
            self.state.best_model_checkpoint = str(best)
        loop = json.dumps(self._loop_state())
        scored_at, score = self._scored
        about = {"max_steps": self.state.max_steps, "epoch": self.state.epoch or 0.0}
        about |= {"score": score if scored_at == self.state.global_step else None}
        about |= {"awaits_validation": self.awaits_validation}
        write = functools.partial(self._write_checkpoint, loop)
        self.checkpoints.save(self.state.global_step, write, about, self._expected_bytes())

    def _write_checkpoint(self, loop: str, folder: Path) -> None:
        self.save_model(str(folder), _internal_call=True)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_scaler(str(folder))
        self._save_rng_state(str(folder))
        if self.args.should_save:
            write_text(folder / LOOP_FILE, loop)
            for item in (*self.callback_handler.callbacks, self.control):
                if isinstance(item, ExportableState):
                    self.state.stateful_callbacks[type(item).__name__] = item.state()
            self.state.save_to_json(str(folder / STATE_FILE))

    def _loop_state(self) -> dict[str, Any]:
        """Numbers gathered since the last log entry, the same on every process."""
        self.meter.end_step()
        # JSON of Python's own: it keeps NaN, which a bad step may have left among the numbers.
        return {
            "loss_since_log": nested_gather(self._tr_loss, self.args.parallel_mode).mean().item(),
            "last_logged": self._globalstep_last_logged,
            "meter": self.meter.state(),
            "awaits_validation": self.awaits_validation,
            "extra": self.extra_state(),
        }

    def _expected_bytes(self) -> int:
        """About what a checkpoint takes: weights, and two moments of those that are trained."""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.model.parameters()]
        return sum(4 * count * (3 if trained else 1) for count, trained in sizes) + (1 << 20)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.shards is None:
            super()._save(output_dir, state_dict)
        else:
            with self.shards.gathered():
                self.model = self.shards.whole
                try:
                    super()._save(output_dir)
                finally:
                    self.model = self.model_wrapped
        if self.save_companions is not None and self.args.should_save:  # every process comes here, one of them writes
            self.save_companions(Path(output_dir or self.args.output_dir))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.shards is None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            self.shards.load(load_file(Path(resume_from_checkpoint) / SAFE_WEIGHTS_NAME))

    def _defer_fsdp_gradient_reduction(self) -> AbstractContextManager[None]:
        return nullcontext()  # reduced with every micro-batch: deferred, all processes would hold whole gradients

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.shards is None:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = self.shards.whole_optimizer(self.optimizer)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if self.shards is None or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = torch.load(Path(checkpoint) / OPTIMIZER_NAME, map_location="cpu", weights_only=True)
        self.shards.load_optimizer(self.optimizer, state)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))


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
