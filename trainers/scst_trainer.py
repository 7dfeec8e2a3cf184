"""Self-critical sequence training: captions that score better than their siblings become likelier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from models.captioner import Captioner, Encoded
from preprocessors.collator import IGNORE_INDEX
from trainers.drawing_trainer import DrawingTrainer
from trainers.hf_trainer import TrainingArguments
from trainers.losses.cross_entropy import token_log_probs
from trainers.losses.self_critical import advantages, kl_divergence, self_critical_loss
from trainers.monitoring import SCST_ADVICE, DrawingAlarms
from trainers.objective import StepTokens
from trainers.rewards.terms import Rewards, join_rewards
from trainers.sampler import Sampler, Samples


@dataclass(frozen=True)
class SelfCritical:
    """How captions are drawn and compared.

    Attributes:
        sampler: Draws the captions.
        baseline: What a caption's reward is compared with.
        kl_weight: Weight of the KL divergence to the starting model, per token.
        cross_entropy_weight: Weight of the cross-entropy of people's captions, per token.
        dropout: Leave dropout on while captions are scored.
        train_batch_norm: Leave the vision network's batch statistics in training.
    """

    sampler: Sampler
    baseline: Literal["leave_one_out", "greedy", "group_mean"] = "leave_one_out"
    kl_weight: float = 0.0
    cross_entropy_weight: float = 0.0
    dropout: bool = False
    train_batch_norm: bool = False


class Scored(NamedTuple):
    """The model's view of the samples: log-probabilities (N, T), and the summed KL divergence to the starting model."""

    token_log_probs: Tensor
    kl: Tensor | None


class ScstTrainer(DrawingTrainer):
    """Rewards captions that the model draws itself.

    Every picture passes the encoder once: samples are drawn from the outputs that the samples are then scored with, and
    the K samples share its rows. While they are scored, threads compute the rewards.

    The loss of a step is ``-sum log p(token) * advantage`` over the tokens of all its samples, EOS included, divided by
    their number. The correction that :class:`DrawingTrainer` makes under accumulation is within a few percent of 1.

    Args:
        captioner: Trained by cross-entropy.
        args: Trainer's arguments.
        self_critical: Sampling and baseline.
        **others: As for :class:`trainers.drawing_trainer.DrawingTrainer`.

    Source:
        Rennie et al. 2017, arXiv:1612.00563; leave-one-out baseline: Luo 2020, arXiv:2003.09971.
    """

    def __init__(
        self, captioner: Captioner, args: TrainingArguments, *, self_critical: SelfCritical, **others: Any
    ) -> None:
        self.frozen_policy = captioner.frozen_copy() if self_critical.kl_weight else None
        super().__init__(
            captioner,
            args,
            sampler=self_critical.sampler,
            alarms=DrawingAlarms(SCST_ADVICE),
            dropout=self_critical.dropout,
            train_batch_norm=self_critical.train_batch_norm,
            **others,
        )
        self.self_critical = self_critical

    def caption_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: StepTokens) -> Tensor:
        """Share of a micro-batch in the self-critical loss of the step, with its companions."""
        self.set_mode()
        captioner, rows = self.captioner.through(model), batch["rows"].tolist()
        encoded = captioner.encode(batch)
        samples = self.drawn_for(encoded, rows)
        submitted = self.submit(samples, rows)
        scored = self._score(captioner, encoded, batch, samples.token_ids.flatten(0, 1))
        rewards = join_rewards([self.rewards.result() for _ in range(submitted)])
        loss = self._self_critical_loss(scored, samples, rewards)
        return loss + self.mixed_in(self.self_critical.cross_entropy_weight, captioner, encoded, batch, tokens)

    def draw(self, encoded: Encoded, rows: list[int]) -> Samples:
        """The samples of B pictures; their rewards are computed while they are scored."""
        return self.draw_captions(encoded, rows)

    def count_drawn(self, drawn: Samples) -> Tensor:
        """Their tokens."""
        return drawn.token_ids.ne(IGNORE_INDEX).sum()

    def _score(self, captioner: Captioner, encoded: Encoded, batch: dict[str, Tensor], token_ids: Tensor) -> Scored:
        """What the model, and the starting model if it anchors, say of the samples (N, T)."""
        temperature = self.self_critical.sampler.temperature
        if self.frozen_policy is None:
            return Scored(captioner.token_log_probs(encoded, token_ids, temperature), None)
        logits = captioner.logits(encoded, token_ids, drawable=True)
        with torch.no_grad(), self.accelerator.autocast():
            anchor = self.frozen_policy.logits(self.frozen_policy.encode(batch), token_ids, drawable=True)
        logits, anchor = logits / temperature, anchor / temperature
        counted = token_ids.ne(IGNORE_INDEX)
        scores = token_log_probs(logits, token_ids.clamp(min=0)).masked_fill(~counted, 0.0)
        return Scored(scores, kl_divergence(logits, anchor, counted))

    def _self_critical_loss(self, scored: Scored, samples: Samples, rewards: Rewards) -> Tensor:
        images, num_samples, _ = samples.token_ids.shape
        mask = samples.token_ids.ne(IGNORE_INDEX).flatten(0, 1)
        totals = torch.from_numpy(rewards.total).unflatten(0, (images, -1))
        greedy = totals[:, -1] if samples.greedy_ids is not None else None
        self.record_rewards(mask, totals[:, :num_samples], greedy, rewards)
        advantage = advantages(totals[:, :num_samples], self.self_critical.baseline, greedy)
        self.numbers.note(advantage=float(advantage.abs().sum()))
        loss = self_critical_loss(scored.token_log_probs, advantage.flatten().to(mask.device, torch.float32), mask)
        count = mask.sum()
        self.meter.add("scst", loss, count)
        if scored.kl is not None:
            self.meter.add("kl", scored.kl, count)
            loss = loss + self.self_critical.kl_weight * scored.kl
        return loss / self.divided_by
