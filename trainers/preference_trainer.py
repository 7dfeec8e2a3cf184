"""Preference training: of two captions of a picture the better one becomes likelier, the worse one less likely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from models.captioner import Captioner, Encoded
from preprocessors.collator import IGNORE_INDEX
from trainers.caption_trainer import StyleCaptionTrainer
from trainers.drawing_trainer import DrawingTrainer
from trainers.hf_trainer import TrainingArguments
from trainers.monitoring import PREFERENCE_ADVICE, DrawingAlarms
from trainers.objective import StepTokens
from trainers.preference import PairLoss, Pairs, Preference, rank
from trainers.rewards.terms import join_rewards


class GivenPairsTrainer(StyleCaptionTrainer):
    """Learns pairs that its rows bring.

    The loss of a step is a mean over all its pairs. There is no dropout, so that the model and what it is held to
    differ by what was learnt alone, and batch statistics stay.

    Args:
        captioner: Trained by cross-entropy.
        args: Trainer's arguments.
        preference: How pairs are learnt.
        **others: As for :class:`StyleCaptionTrainer`; rows of ``train_dataset`` have ``pair_labels``, and the chosen
            caption for ``labels``.

    Source:
        Rafailov et al. 2023, arXiv:2305.18290; Meng et al. 2024, arXiv:2405.14734.
    """

    def __init__(self, captioner: Captioner, args: TrainingArguments, *, preference: Preference, **others: Any) -> None:
        self.preference, self.pair_loss = preference, PairLoss(preference, captioner)
        super().__init__(captioner, args, **others)

    def count_tokens(self, batches: Sequence[Mapping[str, Tensor]]) -> Sequence[int]:
        """Also the pairs."""
        captions, masked, *_ = super().count_tokens(batches)
        return StepTokens(captions, masked, sum(len(batch["rows"]) for batch in batches))

    def caption_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: StepTokens) -> Tensor:
        """Share of a micro-batch in the loss of the step's pairs, with its companion."""
        self.model.eval()
        captioner = self.captioner.through(model)
        encoded = captioner.encode(batch)
        given = batch["pair_labels"]
        pairs = Pairs(given, torch.ones(len(given), dtype=torch.bool, device=given.device))
        loss = self.pair_loss(self, captioner, encoded, batch, pairs) / tokens.pairs
        return loss + self.mixed_in(self.preference.cross_entropy_weight, captioner, encoded, batch, tokens)


class DrawnPairsTrainer(DrawingTrainer):
    """Learns from pairs of captions that the model draws itself: the best and the worst of K, by their rewards.

    Pictures whose captions all have the same reward give no pair. The loss of a step is a mean over all its pairs.
    There is no dropout, and batch statistics stay.

    Args:
        captioner: Trained by cross-entropy.
        args: Trainer's arguments.
        preference: How pairs are learnt.
        **others: As for :class:`trainers.drawing_trainer.DrawingTrainer`.

    Source:
        As of :class:`GivenPairsTrainer`; the best and the worst of five: Meng et al. 2024; drawn while training: Guo
        et al. 2024, arXiv:2402.04792.
    """

    def __init__(self, captioner: Captioner, args: TrainingArguments, *, preference: Preference, **others: Any) -> None:
        self.preference, self.pair_loss = preference, PairLoss(preference, captioner)
        super().__init__(captioner, args, alarms=DrawingAlarms(PREFERENCE_ADVICE), **others)

    def caption_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: StepTokens) -> Tensor:
        """Share of a micro-batch in the loss of the step's pairs, with its companion."""
        self.set_mode()
        captioner = self.captioner.through(model)
        encoded = captioner.encode(batch)
        pairs = self.drawn_for(encoded, batch["rows"].tolist())
        loss = self.pair_loss(self, captioner, encoded, batch, pairs) / self.divided_by
        return loss + self.mixed_in(self.preference.cross_entropy_weight, captioner, encoded, batch, tokens)

    def draw(self, encoded: Encoded, rows: list[int]) -> Pairs:
        """The pairs of B pictures: their captions have to be rewarded first."""
        samples = self.draw_captions(encoded, rows)
        submitted = self.submit(samples, rows)
        rewards = join_rewards([self.rewards.result() for _ in range(submitted)])
        totals = rewards.total.reshape(len(rows), -1)
        mask = samples.token_ids.ne(IGNORE_INDEX).flatten(0, 1)
        self.record_rewards(mask, torch.from_numpy(totals), None, rewards)
        return rank(samples.token_ids, totals)

    def count_drawn(self, drawn: Pairs) -> Tensor:
        """Those of them that are kept."""
        return drawn.kept.sum()
