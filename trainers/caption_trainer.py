"""The trainer: transformers' loop with OFA's loss, a token mean over the whole step, and draws that can be resumed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from models.ofa import OFAForConditionalGeneration
from preprocessors.collator import CaptionBatch, CaptionCollator
from preprocessors.dataset import CaptionDataset
from trainers.losses.cross_entropy import IGNORE_INDEX, count_kept, label_smoothed_cross_entropy, r_drop
from trainers.losses.unlikelihood import leakage_unlikelihood, repetition_unlikelihood
from trainers.monitoring import StepMeter
from trainers.objective import Objective, StepTokens, split_tasks
from trainers.schedule import EpochSampler, polynomial_decay
from trainers.validation import Validation


class StyleCaptionTrainer(Trainer):
    """Fine-tunes an OFA captioner.

    The loss is a sum over tokens, divided by the tokens of the whole optimizer step: over all micro-batches and all
    processes, so 1 x 8, 2 x 4 and 4 accumulation steps give the same update. Order, crops and captions depend on
    (seed, epoch, row), dropout on (seed, step, micro-batch, rank). Gradients always pass through the wrapped module.

    Args:
        model: The captioner; frozen parts already have ``requires_grad`` off.
        args: Trainer's arguments; ``learning_rate`` is the peak.
        train_dataset: Rows to train on.
        eval_dataset: Rows to validate on.
        collator: Rows to batches.
        objective: The loss.
        warmup: Share of the steps in which the learning rate rises.
        lr_end: Learning rate at the last step.
        validation: Captions at validation; None validates the loss only.
        save_companions: Called with each checkpoint folder, writes what the weights need beside them.
        callbacks: More observers.
    """

    def __init__(
        self,
        model: OFAForConditionalGeneration,
        args: TrainingArguments,
        *,
        train_dataset: CaptionDataset,
        eval_dataset: CaptionDataset | None,
        collator: CaptionCollator,
        objective: Objective,
        warmup: float = 0.0,
        lr_end: float = 0.0,
        validation: Validation | None = None,
        save_companions: Callable[[Path], None] | None = None,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(model, args, data_collator=collator, train_dataset=train_dataset, eval_dataset=eval_dataset)
        for spoken in (ProgressCallback, PrinterCallback):  # both write to stdout, which belongs to the results
            self.remove_callback(spoken)
        for callback in (_EpochForData(self), *(callbacks or [])):
            self.add_callback(callback)
        self.objective, self.warmup, self.lr_end = objective, warmup, lr_end
        self.validation, self.save_companions = validation, save_companions
        self.loss_is_scaled_for_ga = True
        self._sampler = EpochSampler(train_dataset, args.seed)
        self.meter = StepMeter(self._sum_numbers if args.world_size > 1 else None)
        self._micro_step = 0

    lr_scheduler: Any
    control: Any

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

    def _get_num_items_in_batch(self, batch_samples: list[CaptionBatch], device: torch.device) -> StepTokens:
        """Tokens of the whole optimizer step that the losses count, over all processes."""
        tasks = [split_tasks(batch) for batch in batch_samples]
        counts = [tuple(int(task["labels"].ne(IGNORE_INDEX).sum()) if task else 0 for task in pair) for pair in tasks]
        captions = sum(count_kept(count, self.objective.drop_worst) for count, _ in counts)
        masked = sum(count for _, count in counts)
        return StepTokens(*self.sum_over_processes(torch.tensor([captions, masked], device=device)))

    def sum_over_processes(self, numbers: Tensor) -> Tensor:
        """The sum of what all processes have."""
        return self.accelerator.reduce(numbers, "sum") if self.args.world_size > 1 else numbers

    def _sum_numbers(self, numbers: Tensor) -> Tensor:
        return self.sum_over_processes(numbers.to(self.args.device)).cpu()

    def training_step(self, model: nn.Module, inputs: CaptionBatch, num_items_in_batch: Any = None) -> Tensor:
        """One micro-batch, under dropout masks of its own."""
        place = f"{self.args.seed}/{self.state.global_step}/{self._micro_step}/{self.args.process_index}"
        torch.manual_seed(random.Random(place).getrandbits(63))
        self._micro_step += 1
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model: nn.Module, inputs: CaptionBatch, num_items_in_batch: Any) -> Tensor:
        """Losses of a micro-batch as their shares of the step's token means, weighted and added up.

        Gradients are averaged over the processes, so the sum is scaled up by their number.
        """
        captions, masked = split_tasks(inputs)
        loss = self.caption_loss(model, captions, num_items_in_batch)
        if masked:
            loss = loss + self.masked_lm_weight() * self._masked_lm_loss(model, masked, num_items_in_batch)
        return loss * self.args.world_size

    def masked_lm_weight(self) -> float:
        """Weight of the masked-LM loss at this step."""
        first, last = self.objective.masked_lm, self.objective.masked_lm_end
        return first + (last - first) * self.state.global_step / max(self.state.max_steps - 1, 1)

    def caption_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: StepTokens) -> Tensor:
        """Share of a micro-batch in the loss of people's captions."""
        rows = batch.pop("rows")
        views = 2 if self.objective.rdrop else 1
        if views == 2:
            batch = {name: torch.cat([tensor, tensor]) for name, tensor in batch.items()}
        labels = batch.pop("labels")
        logits = model(**batch).logits
        loss = self.cross_entropy(logits, labels, rows.repeat(views), views) / tokens.captions
        if views == 2:
            loss = loss + self.objective.rdrop * r_drop(logits, labels) / tokens.captions
        return loss

    def cross_entropy(self, logits: Tensor, labels: Tensor, rows: Tensor, views: int = 1) -> Tensor:
        """Sum over tokens of cross-entropy and unlikelihood, a mean over the views; logged without weights."""
        objective = self.objective
        entropy = label_smoothed_cross_entropy(logits, labels, objective.label_smoothing, objective.drop_worst)
        self.meter.add("cross_entropy", entropy.loss, entropy.tokens)
        loss = entropy.loss
        if objective.repetition:
            repetition = repetition_unlikelihood(logits, labels)
            self.meter.add("unlikelihood_repetition", repetition, entropy.tokens)
            loss = loss + objective.repetition * repetition
        if objective.leakage and objective.foreign is not None:
            leakage = leakage_unlikelihood(logits, labels, objective.foreign.of(rows))
            self.meter.add("unlikelihood_leakage", leakage, entropy.tokens)
            loss = loss + objective.leakage * leakage
        return loss / views

    def _masked_lm_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: StepTokens) -> Tensor:
        labels = batch.pop("labels")
        entropy = label_smoothed_cross_entropy(model(**batch).logits, labels, self.objective.label_smoothing)
        self.meter.add("masked_lm", entropy.loss, entropy.tokens)
        return entropy.loss / tokens.masked

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log an entry; one of training gets everything that was gathered since the last, without weights."""
        super().log(logs | self.meter.drain() if "loss" in logs else logs, start_time)

    def evaluate(self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval") -> Any:
        """Loss per token over the validation rows, and captions of some or all of them.

        Returns:
            ``eval_loss`` (label-smoothed as in training) and ``eval_nll`` in nats per token; ``eval_CIDEr`` if the
            validation scores captions.
        """
        self._average_batch_norm()
        self.model.eval()
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in self._validation_loss().items()}
        if self.validation is not None:
            examples, step = self.eval_dataset.examples, self.state.global_step
            score = self.validation.run(examples, step, record=self.is_world_process_zero())
            if score is not None:
                metrics[f"{metric_key_prefix}_CIDEr"] = score
        self.model.train()
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    @torch.no_grad()
    def _validation_loss(self) -> dict[str, float]:
        sums = torch.zeros(3, dtype=torch.float64, device=self.args.device)
        for batch in self.get_eval_dataloader():
            inputs = self._prepare_inputs(batch)
            labels = inputs["labels"]
            with self.compute_loss_context_manager():
                logits = self.model(**{name: inputs[name] for name in inputs if name not in ("labels", "rows")}).logits
            rows = [
                label_smoothed_cross_entropy(logits[row, None], labels[row, None], self.objective.label_smoothing)
                for row in range(len(labels))
            ]
            # Per row, because the last batch repeats rows to fill all processes and those must not count.
            sums += self.accelerator.gather_for_metrics(torch.stack([torch.stack(row) for row in rows])).sum(0)
        loss, nll, tokens = sums.tolist()
        return {"loss": loss / max(tokens, 1.0), "nll": nll / max(tokens, 1.0)}

    def _average_batch_norm(self) -> None:
        """Give all processes the mean of their running statistics, which each gathered on its own rows."""
        if self.args.world_size == 1:
            return
        for name, buffer in self.model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                dist.all_reduce(buffer)
                buffer /= self.args.world_size

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._average_batch_norm()
        super()._save_checkpoint(model, trial)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        if self.save_companions is not None and self.args.should_save:  # every process comes here, one of them writes
            self.save_companions(Path(output_dir or self.args.output_dir))


class _EpochForData(TrainerCallback):
    """Tells data set and sampler the epoch, and starts the count of micro-batches with each step."""

    def __init__(self, trainer: StyleCaptionTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        epoch = int(state.epoch or 0)
        self.trainer.train_dataset.set_epoch(epoch)
        self.trainer._sampler.set_epoch(epoch)

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer._micro_step = 0
