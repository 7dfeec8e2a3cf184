"""The text trainer: a language model learns packed documents, which do not see one another."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from models.style_lm import block_logits
from preprocessors.collator import IGNORE_INDEX
from preprocessors.documents.packing import mask
from trainers.base import BaseTrainer
from trainers.continuations import Continuations, TextModel
from trainers.hf_trainer import TrainerCallback, TrainingArguments
from trainers.losses.cross_entropy import label_smoothed_cross_entropy
from trainers.losses.unlikelihood import repetition_unlikelihood
from trainers.memory import ADVICE
from trainers.pieces import take_rows
from trainers.row_losses import mean_losses
from utils.memory import Halving


@dataclass(frozen=True)
class TextObjective:
    """The loss of a text run.

    Attributes:
        label_smoothing: In [0, 1).
        repetition: Weight of the unlikelihood of tokens that a document has already.
        sequence: Share of the optimizer steps that look at the model's own continuations, in place of the documents.
    """

    label_smoothing: float = 0.0
    repetition: float = 0.0
    sequence: float = 0.0


class TextTrainer(BaseTrainer):
    """Trains a language model on packed documents.

    Args:
        lm: The model.
        args: Trainer's arguments; ``learning_rate`` is the peak.
        objective: The loss.
        write_samples: Called with the optimizer step, writes texts, on the first process; None writes none.
        sample_every: Optimizer steps between samples; None writes them with every validation.
        **others: As for :class:`trainers.base.BaseTrainer`.
    """

    def __init__(
        self,
        lm: TextModel,
        args: TrainingArguments,
        *,
        objective: TextObjective,
        write_samples: Callable[[int], None] | None = None,
        sample_every: int | None = None,
        **others: Any,
    ) -> None:
        super().__init__(lm.network, args, in_order=True, **others)
        self.lm, self.objective = lm, objective
        self.write_samples, self.sample_every = write_samples, sample_every
        self.validating = Halving("validation", ADVICE)
        self.continuations = Continuations(lm)
        if sample_every is not None:
            self.add_callback(_SamplesBetween(self))

    @property
    def is_of_sequences(self) -> bool:
        """Whether the open step looks at the model's own continuations."""
        place = f"{self.args.seed}/sequence/{self.state.global_step}"
        return random.Random(place).random() < self.objective.sequence

    def count_tokens(self, batches: Sequence[Mapping[str, Tensor]]) -> Sequence[int]:
        """Tokens to learn; or tokens that the model is asked to write, as if no continuation ended early."""
        if self.is_of_sequences:
            prefixes = sum(len(self.continuations.prefixes(batch)) for batch in batches)
            return (prefixes * self.continuations.length,)
        return (sum(int(batch["targets"].ne(IGNORE_INDEX).sum()) for batch in batches),)

    def step_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: Tensor) -> Tensor:
        """Losses of a micro-batch as their shares of the step's token means, weighted and added up."""
        loss = self._sequence_loss(model, batch) if self.is_of_sequences else self._document_loss(model, batch)
        return loss / tokens[0].clamp(min=1)

    def _document_loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        targets, documents, weight = batch["targets"], batch["document_ids"], self.objective.repetition
        given = (batch["token_ids"], batch["position_ids"], mask(documents, batch.get("ancestors")))
        if weight:  # which looks at the places of the tokens
            logits, labels = block_logits(model, *given), targets
        else:
            counted = targets.ne(IGNORE_INDEX)
            logits, labels = block_logits(model, *given, logits_to_keep=counted), targets[counted]
        entropy = label_smoothed_cross_entropy(logits, labels, self.objective.label_smoothing)
        self.meter.add("cross_entropy", entropy.loss, entropy.tokens)
        if not weight:
            return entropy.loss
        repetition = repetition_unlikelihood(logits, targets, documents)
        self.meter.add("unlikelihood_repetition", repetition, entropy.tokens)
        return entropy.loss + weight * repetition

    def _sequence_loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Tensor:
        prefixes = self.continuations.prefixes(batch)
        found = self.continuations.loss(model, prefixes)
        self.meter.add("unlikelihood_sequence", found.loss, len(prefixes) * self.continuations.length)
        self.meter.add("repeated_share", found.repeated, found.written)
        return found.loss

    def validate(self) -> dict[str, float]:
        """Loss per token over the validation rows; samples, if they are due.

        Returns:
            ``loss`` (label-smoothed as in training) and ``nll`` in nats per token, and ``perplexity``.
        """
        numbers = mean_losses(self, self.validating, self._row_losses)
        if self.sample_every is None or self.state.global_step % self.sample_every == 0:
            self.sample()
        return numbers | {"perplexity": math.exp(min(numbers["nll"], 700.0))}

    def sample(self) -> None:
        """Write samples, in evaluation mode."""
        if self.write_samples is not None and self.is_world_process_zero():
            self.write_samples(self.state.global_step)

    def _row_losses(self, inputs: dict[str, Tensor], rows: Sequence[int]) -> list[Tensor]:
        """Sums of loss, nll and tokens of some rows that follow one another, each of shape (3,)."""
        part = take_rows(inputs, rows[0], rows[-1] + 1)
        seen = mask(part["document_ids"], part.get("ancestors"))
        with self.compute_loss_context_manager():
            logits = block_logits(self.lm.network, part["token_ids"], part["position_ids"], seen)
        smoothing = self.objective.label_smoothing
        losses = (
            label_smoothed_cross_entropy(logits[row, None], part["targets"][row, None], smoothing)
            for row in range(len(logits))
        )
        return [torch.stack([*row]) for row in losses]


class _SamplesBetween(TrainerCallback):
    """Writes samples at steps that are not validated; a validation writes its own, and may be put off."""

    def __init__(self, trainer: TextTrainer) -> None:
        self.trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % (self.trainer.sample_every or 1) == 0 and not control.should_evaluate:
            self.trainer.model.eval()
            self.trainer.sample()
            self.trainer.model.train()
