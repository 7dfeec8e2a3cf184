"""The caption trainer: any captioner learns people's captions, and masked captions beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from models.captioner import Captioner, Encoded
from preprocessors.collator import IGNORE_INDEX
from trainers.base import BaseTrainer
from trainers.hf_trainer import TrainingArguments
from trainers.losses.cross_entropy import count_kept, label_smoothed_cross_entropy, r_drop
from trainers.losses.table import LOSS_TERMS
from trainers.memory import ADVICE
from trainers.objective import Objective, StepTokens, split_tasks, targets_of, two_views
from trainers.pieces import take_rows
from trainers.row_losses import mean_losses
from trainers.schedule import give_own_rate
from trainers.sharding import trainable_copy
from trainers.validation import Validation
from utils.memory import Halving


class StyleCaptionTrainer(BaseTrainer):
    """Fine-tunes a captioner on people's captions.

    Args:
        captioner: Frozen parts already have ``requires_grad`` off.
        args: Trainer's arguments; ``learning_rate`` is the peak.
        objective: The loss.
        validation: Captions at validation; None validates the loss only.
        vision_lr: Peak learning rate of the vision network; None = that of all.
        sharded: Deal weights, gradients and optimizer out among the processes; the captioner itself then has weights
            where a whole one is needed.
        **others: As for :class:`trainers.base.BaseTrainer`.
    """

    def __init__(
        self,
        captioner: Captioner,
        args: TrainingArguments,
        *,
        objective: Objective,
        validation: Validation | None = None,
        vision_lr: float | None = None,
        sharded: bool = False,
        **others: Any,
    ) -> None:
        trained = trainable_copy(captioner) if sharded else captioner
        super().__init__(trained.module, args, whole=captioner.module if sharded else None, **others)
        self._whole = captioner
        self.captioner, self.objective, self.validation = trained, objective, validation
        self.vision_lr = vision_lr
        self.validating = Halving("validation", ADVICE)

    @property
    def may_split(self) -> bool:
        """Not where the worst tokens of a micro-batch are left out, which only all of them tell."""
        return not self.objective.drop_worst

    @contextmanager
    def whole_captioner(self) -> Iterator[Captioner]:
        """The captioner with all its weights in this process, to be asked for whatever needs no gradient.

        All processes enter together and need not stay in step inside.
        """
        with nullcontext() if self.shards is None else self.shards.gathered():
            yield self._whole

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """Trainer's, with a learning rate of its own for the vision network."""
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if is_new and self.vision_lr is not None:
            vision = [p for module in self.captioner.parts()["vision"] for p in module.parameters() if p.requires_grad]
            give_own_rate(optimizer, vision, self.vision_lr)
        return optimizer

    def count_tokens(self, batches: Sequence[Mapping[str, Tensor]]) -> Sequence[int]:
        """Tokens of captions that are kept, and of masked captions."""
        tasks = [split_tasks(batch) for batch in batches]
        counts = [tuple(int(task["labels"].ne(IGNORE_INDEX).sum()) if task else 0 for task in pair) for pair in tasks]
        return StepTokens(
            sum(count_kept(count, self.objective.drop_worst) for count, _ in counts), sum(count for _, count in counts)
        )

    def step_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: Tensor) -> Tensor:
        """Losses of a micro-batch as their shares of the step's token means, weighted and added up."""
        captions, masked = split_tasks(batch)
        counted = StepTokens(*(number.clamp(min=1) for number in tokens))  # a stream's rows may all be without a word
        loss = self.caption_loss(model, captions, counted)
        if masked:
            loss = loss + self.masked_lm_weight() * self._masked_lm_loss(model, masked, counted)
        return loss

    def masked_lm_weight(self) -> float:
        """Weight of the masked-LM loss at this step."""
        first, last = self.objective.masked_lm, self.objective.masked_lm_end
        return first + (last - first) * self.state.global_step / max(self.state.max_steps - 1, 1)

    def caption_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: StepTokens) -> Tensor:
        """Share of a micro-batch in the loss of people's captions."""
        views = 2 if self.objective.rdrop else 1
        if views == 2:
            batch = two_views(batch)
        captioner = self.captioner.through(model)
        encoded = captioner.encode(batch)
        loss, logits, labels = self.cross_entropy(captioner, encoded, batch, views)
        loss = loss / tokens.captions
        if views == 2:
            loss = loss + self.objective.rdrop * r_drop(logits, labels) / tokens.captions
        return loss

    def cross_entropy(
        self, captioner: Captioner, encoded: Encoded, batch: dict[str, Tensor], views: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy of the rows' captions and the terms beside it; logged without weights.

        Args:
            captioner: Called through what is trained.
            encoded: The B rows: however many captions a row has, it passed the encoder once.
            batch: They.
            views: How often every row is there.

        Returns:
            Sum over tokens, a mean over the views; logits and labels of the captions, (N, T, V) and (N, T), or (M, V)
            and (M,) of the tokens alone where nothing is asked about their places.
        """
        objective = self.objective
        labels, rows, caption_rows = targets_of(batch)
        packed = views == 1 and not objective.weights
        logits = captioner.logits(encoded, labels, caption_rows=caption_rows, packed=packed)
        if batch["labels"].ndim == 3:
            self.meter.add("captions_per_row", len(labels), len(batch["rows"]))
        labels = labels[labels.ne(IGNORE_INDEX)] if packed else labels
        entropy = label_smoothed_cross_entropy(logits, labels, objective.label_smoothing, objective.drop_worst)
        self.meter.add("cross_entropy", entropy.loss, entropy.tokens)
        loss = entropy.loss
        foreign = None if objective.foreign is None else objective.foreign.of(rows)
        for name, weight in objective.weights.items():
            term = LOSS_TERMS[name].compute(logits, labels, foreign)
            self.meter.add(name, term, entropy.tokens)
            loss = loss + weight * term
        return loss / views, logits, labels

    def mixed_in(
        self, weight: float, captioner: Captioner, encoded: Encoded, batch: dict[str, Tensor], tokens: StepTokens
    ) -> Tensor | float:
        """Share of cross-entropy where it stands beside another loss, weighted; 0 where it is off."""
        if not weight:
            return 0.0
        loss, _, _ = self.cross_entropy(captioner, encoded, batch)
        return weight * (loss / tokens.captions)

    def _masked_lm_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: StepTokens) -> Tensor:
        labels, captioner = batch["labels"], self.captioner.through(model)
        logits = captioner.logits(captioner.encode(batch), labels, packed=True)
        entropy = label_smoothed_cross_entropy(logits, labels[labels.ne(IGNORE_INDEX)], self.objective.label_smoothing)
        self.meter.add("masked_lm", entropy.loss, entropy.tokens)
        return entropy.loss / tokens.masked

    def validate(self) -> dict[str, float]:
        """Loss per token over the validation rows, and captions of some or all of them.

        Returns:
            ``loss`` (label-smoothed as in training) and ``nll`` in nats per token; the validation's metric if it
            scores captions.
        """
        with self.whole_captioner():
            numbers = self._validation_loss()
            if self.validation is not None:
                examples, step = self.eval_dataset.examples, self.state.global_step
                score = self.validation.run(examples, step, record=self.is_world_process_zero())
                if score is not None:
                    numbers[self.validation.metric] = score
        return numbers

    def _validation_loss(self) -> dict[str, float]:
        return mean_losses(self, self.validating, self._row_losses)

    def _row_losses(self, inputs: dict[str, Tensor], rows: Sequence[int]) -> list[Tensor]:
        """Sums of loss, nll and tokens of some rows that follow one another, each of shape (3,)."""
        part = take_rows(inputs, rows[0], rows[-1] + 1)
        labels = part["labels"]
        with self.compute_loss_context_manager():
            called = self._whole.through(self._whole.module)
            logits = called.logits(called.encode(part), labels)
        losses = (
            label_smoothed_cross_entropy(logits[row, None], labels[row, None], self.objective.label_smoothing)
            for row in range(len(labels))
        )
        return [torch.stack([*row]) for row in losses]
