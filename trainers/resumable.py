"""The half of a trainer that goes on where it stopped: checkpoints, signals, validations put off, weights in shards."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers.utils import SAFE_WEIGHTS_NAME

from models.adapters import Adapters
from trainers.checkpoints import CheckpointStore
from trainers.hf_trainer import (
    OPTIMIZER_NAME,
    SCHEDULER_NAME,
    ExportableState,
    Trainer,
    TrainingArguments,
    nested_gather,
)
from trainers.loop_state import LoopState
from trainers.memory import explained
from trainers.monitoring import StepMeter
from trainers.numbers import NumbersGuard
from trainers.sharding import Shards
from utils.signals import StopRequested, waiting

STATE_FILE = "trainer_state.json"
"""Transformers' state."""


class ResumableTrainer(Trainer):
    """Transformers' loop, which a kill, a signal or a pause at any moment does not change.

    Args:
        module: What is trained.
        args: Trainer's arguments.
        checkpoints: Where checkpoints go; None = this training saves none.
        save_companions: Called with each checkpoint folder, writes what the weights need beside them.
        adapters: In the module. Checkpoints hold them alone then, since nothing else of the module is trained.
        whole: The same module once more: ``module``, which nobody else has, is then dealt out among the processes, and
            this one has weights at validations, in what is saved, and once training is over.
        **others: As for a Trainer.

    Attributes:
        awaits_validation: The validation that is due at this step was put off, because a signal came first; a training
            that goes on from here makes up for it.
        is_stopped: A signal ended training before its end.
        is_over: Its time is over, so that this is its end.
        seconds_before: What earlier starts took.
    """

    control: Any
    meter: StepMeter
    numbers: NumbersGuard

    def __init__(
        self,
        module: nn.Module,
        args: TrainingArguments,
        *,
        checkpoints: CheckpointStore | None = None,
        save_companions: Callable[[Path], None] | None = None,
        adapters: Adapters | None = None,
        whole: nn.Module | None = None,
        **others: Any,
    ) -> None:
        self.shards = None if whole is None else Shards(whole, module)
        super().__init__(module, args, **others)
        # A Trainer then leaves the module as it is. It learns so only now, since it refuses to save such a module's
        # optimizer, which this class does.
        self.is_distributed_loading_by_transformers = self.shards is not None
        self.save_companions, self.checkpoints, self.adapters = save_companions, checkpoints, adapters
        self.awaits_validation = self.is_stopped = self.is_over = False
        self.seconds_before, self._began = 0.0, time.monotonic()
        self._resumed: LoopState | None = None
        self._scored: tuple[int, float | None] = (0, None)

    def extra_state(self) -> dict[str, Any]:
        """What is to be found again when training goes on, JSON-like."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave."""

    def train(self, resume_from_checkpoint: Any = None, **others: Any) -> Any:
        """Train, from a checkpoint or from the beginning; signals are heard at the end of a step.

        A whole module beside the one in shards has the weights afterwards.
        """
        if resume_from_checkpoint is not None:
            self._resumed = LoopState.load_from_dir(Path(resume_from_checkpoint))
            self.seconds_before = self._resumed.seconds
        self._began = time.monotonic()
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

    def end_here(self) -> None:
        """Let this step be the last: it is validated and saved, and the best weights are chosen."""
        self.is_over = True
        self.control.should_evaluate = self.control.should_save = self.control.should_training_stop = True

    def seconds(self) -> float:
        """What training has taken so far, earlier starts counted up to the checkpoint that this one began with."""
        return self.seconds_before + time.monotonic() - self._began

    def catch_up(self) -> None:
        """Take up the loop where the checkpoint left it, with the validation that it awaits."""
        if self._resumed is None:
            return
        self._tr_loss += self._resumed.loss_since_log
        self._globalstep_last_logged = self._resumed.last_logged
        self.meter.load_state(self._resumed.meter)
        self.load_extra_state(self._resumed.extra)
        if self._resumed.awaits_validation:
            self.control.should_evaluate = self.control.should_save = True
            epoch = self.state.epoch or 0.0
            super()._maybe_log_save_evaluate(self._tr_loss, None, self.model_wrapped, None, epoch, None, time.time())

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._maybe_log_save_evaluate(*args, **kwargs)
        except StopRequested:  # in the midst of a validation, before its numbers were there
            self.stop_here()
            super()._maybe_log_save_evaluate(*args, **kwargs)

    def average_batch_norm(self) -> None:
        """Give all processes the mean of the running statistics that each gathered on its own rows of this step.

        At every step, since means of means round otherwise: a save on demand would change the weights from then on.
        """
        norms = [module for module in self.model.modules() if isinstance(module, _BatchNorm) and module.training]
        buffers = [item for norm in norms for item in (norm.running_mean, norm.running_var) if item is not None]
        if self.args.world_size == 1 or not buffers:
            return
        joined = torch.cat([buffer.flatten() for buffer in buffers])
        dist.all_reduce(joined)
        joined /= self.args.world_size
        for buffer, mean in zip(buffers, joined.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        done = super()._init_training_state(*args, **kwargs)
        best = self.state.best_global_step
        if self.checkpoints is not None and self._resumed is not None:
            self.checkpoints.finish_save(self.state.global_step)
        if self.checkpoints is not None and best:
            # Transformers forgets a best checkpoint that is lost, and would end with the last weights without a word.
            self.state.best_model_checkpoint = str(self.checkpoints.run.checkpoint(best))
            self.checkpoints.warn_of_lost_best(best)
        return done

    def _load_best_model(self) -> None:
        if self.checkpoints is not None and self.state.best_global_step:
            self.state.best_model_checkpoint = str(self.checkpoints.best(self.state.best_global_step).folder)
        if self.shards is None and self.adapters is None:
            super()._load_best_model()
        else:
            self._load_from_checkpoint(str(self.state.best_model_checkpoint))

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        if self.checkpoints is None:
            raise ValueError("this training was made without a place for checkpoints")
        self.numbers.check_weights(self.model)
        self.store_flos()
        if self.state.best_global_step:
            best = self.checkpoints.run.checkpoint(self.state.best_global_step)
            self.state.best_model_checkpoint = str(best)
        loop = self._loop_state()
        scored_at, score = self._scored
        about = {"max_steps": self.state.max_steps, "epoch": self.state.epoch or 0.0}
        about |= {"score": score if scored_at == self.state.global_step else None}
        about |= {"awaits_validation": self.awaits_validation}
        write = functools.partial(self._write_checkpoint, loop)
        self.checkpoints.save(self.state.global_step, write, about, self._expected_bytes())

    def _write_checkpoint(self, loop: LoopState, folder: Path) -> None:
        parts = (
            functools.partial(self.save_model, _internal_call=True),
            *(self._save_optimizer_and_scheduler, self._save_scaler, self._save_rng_state),
        )
        failed: list[Exception] = []
        for write_part in parts:
            try:
                write_part(str(folder))
            except (OSError, SafetensorError, RuntimeError) as error:
                # The others gather shards with this process for the next part: it goes there before it says so.
                failed.append(error)
        if failed:
            raise failed[0]
        if self.args.should_save:
            loop.save_to_dir(folder)
            for item in (*self.callback_handler.callbacks, self.control):
                if isinstance(item, ExportableState):
                    self.state.stateful_callbacks[type(item).__name__] = item.state()
            self.state.save_to_json(str(folder / STATE_FILE))

    def _loop_state(self) -> LoopState:
        """Numbers gathered since the last log entry, the same on every process."""
        self.meter.end_step()
        return LoopState(
            loss_since_log=nested_gather(self._tr_loss, self.args.parallel_mode).mean().item(),
            last_logged=self._globalstep_last_logged,
            awaits_validation=self.awaits_validation,
            seconds=self.seconds(),
            meter=self.meter.state(),
            extra=self.extra_state(),
        )

    def _expected_bytes(self) -> int:
        """About what a checkpoint takes: weights, and two moments of those that are trained."""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.model.parameters()]
        kept = 1 if self.adapters is None else 0
        return sum(4 * count * (3 if trained else kept) for count, trained in sizes) + (1 << 20)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        if self.adapters is not None:
            if self.args.should_save:
                self.adapters.save(Path(output_dir or self.args.output_dir))
        elif self.shards is None:
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
        if self.adapters is not None:
            self.adapters.load(Path(resume_from_checkpoint))
        elif self.shards is None:
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

    def _move_model_to_device(self, model: nn.Module, device: torch.device) -> None:
        if self.shards is None:  # shards are where they belong, and cannot be moved
            super()._move_model_to_device(model, device)
