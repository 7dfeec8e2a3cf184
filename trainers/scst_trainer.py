"""Self-critical sequence training: captions that score better than their siblings become likelier."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from models.captioner import Captioner, Encoded
from preprocessors.collator import IGNORE_INDEX
from trainers.caption_trainer import StyleCaptionTrainer
from trainers.losses.cross_entropy import token_log_probs
from trainers.losses.self_critical import advantages, kl_divergence, self_critical_loss
from trainers.monitoring import ScstAlarms, record_samples
from trainers.objective import StepTokens, split_tasks
from trainers.pieces import StepStart
from trainers.rewards.calculator import RewardCalculator
from trainers.rewards.terms import RewardRequest, Rewards, join_rewards
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


class ScstTrainer(StyleCaptionTrainer):
    """Rewards captions that the model draws itself.

    Every picture passes the encoder once: samples are drawn from the outputs that the samples are then scored with, and
    the K samples share its rows. While they are scored, threads compute the rewards.

    The loss of a step is ``-sum log p(token) * advantage`` over the tokens of all its samples, EOS included, divided by
    their number: over all micro-batches and processes. How many there are is known with the last micro-batch only, so
    the earlier ones are divided by an estimate and the gradient is corrected before it is clipped. Under accumulation
    the other terms of the loss are therefore weighted by that correction too, which is within a few percent of 1.

    Where a micro-batch does not fit into memory, the captions of all its pieces are drawn before any is scored, so that
    their number is known as if it were whole; the pictures pass the encoder once more for that.

    Args:
        captioner: Trained by cross-entropy.
        args: Trainer's arguments.
        self_critical: Sampling and baseline.
        rewards: Reward calculator over the rows of the training set; closed when training ends, however it does.
        **others: As for :class:`StyleCaptionTrainer`.

    Source:
        Rennie et al. 2017, arXiv:1612.00563; leave-one-out baseline: Luo 2020, arXiv:2003.09971.
    """

    def __init__(
        self,
        captioner: Captioner,
        args: TrainingArguments,
        *,
        self_critical: SelfCritical,
        rewards: RewardCalculator,
        **others: Any,
    ) -> None:
        self.frozen_policy = captioner.frozen_copy() if self_critical.kl_weight else None
        super().__init__(captioner, args, **others)
        self.self_critical, self.rewards = self_critical, rewards
        self.alarms = ScstAlarms()
        self._divided_by, self._counted = torch.ones(()), torch.ones(())
        self._drawn: deque[Samples] = deque()

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; no thread is left behind, whatever happens."""
        with self.rewards:
            return super().train(*args, **kwargs)

    def extra_state(self) -> dict[str, Any]:
        """Also how long the alarms have been waiting."""
        return super().extra_state() | {"alarms": self.alarms.state()}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what :meth:`extra_state` gave."""
        super().load_extra_state(state)
        self.alarms.load_state(state["alarms"])

    def caption_loss(self, model: nn.Module, batch: dict[str, Tensor], tokens: StepTokens) -> Tensor:
        """Share of a micro-batch in the self-critical loss of the step, with its companions."""
        self._set_mode()
        captioner, rows = self.captioner.through(model), batch["rows"].tolist()
        encoded = captioner.encode(batch)
        if self._drawn:
            samples = self._drawn.popleft()
        else:
            samples = self._draw(encoded, rows)
            self._count([samples])
        submitted = self._submit(samples, rows)
        scored = self._score(captioner, encoded, batch, samples.token_ids.flatten(0, 1))
        rewards = join_rewards([self.rewards.result() for _ in range(submitted)])
        loss = self._self_critical_loss(scored, samples, rewards)
        if self.self_critical.cross_entropy_weight:
            cross_entropy, _, _ = self.cross_entropy(captioner, encoded, batch)
            loss = loss + self.self_critical.cross_entropy_weight * (cross_entropy / tokens.captions)
        return loss

    @torch.no_grad()
    def begin_pieces(self, model: nn.Module, micro: int, pieces: Sequence[dict[str, Tensor]]) -> None:
        """Draw for all pieces of a micro-batch, and count their tokens."""
        self._set_mode()
        self._micro_step = micro + 1
        statistics, captioner = StepStart(self.model), self.captioner.through(model)
        for number, piece in enumerate(pieces):
            self.seed_piece(micro, number, len(pieces))
            captions, _ = split_tasks(self._prepare_inputs(piece))
            self._drawn.append(self._draw(captioner.encode(captions), captions["rows"].tolist()))
        statistics.restore_statistics()
        self._count(self._drawn)

    def forget_attempt(self) -> None:
        """Also the captions of the attempt and their rewards."""
        super().forget_attempt()
        self._drawn.clear()
        self.rewards.discard()

    def _set_mode(self) -> None:
        self.model.train(self.self_critical.dropout)
        for module in self.captioner.parts()["vision"]:
            module.train(self.self_critical.train_batch_norm)

    def _draw(self, encoded: Encoded, rows: list[int]) -> Samples:
        """Captions without dropout in the decoder, whatever they are scored with."""
        decoder = self.captioner.parts()["decoder"]
        for module in decoder:
            module.eval()
        # A context of its own, which forgets its copies of weights: they were made without gradient.
        with self.whole_captioner() as captioner, self.accelerator.autocast():
            samples = self.self_critical.sampler.draw(captioner, encoded, rows, self.train_dataset.epoch)
        for module in decoder:
            module.train(self.self_critical.dropout)
        return samples

    def _submit(self, samples: Samples, rows: list[int]) -> int:
        """Give every reward thread its share of the pictures; returns the number of shares."""
        # Copied here: a thread that reads from the device would wait for the forward pass that it is to run beside.
        shares = samples.joined().cpu().chunk(max(self.rewards.workers, 1))
        for number, drawn in enumerate(shares):
            first = number * len(shares[0])
            own = rows[first : first + len(drawn)]
            self.rewards.submit(partial(self._reward_request, drawn, own))
        return len(shares)

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

    def _reward_request(self, drawn: Tensor, rows: list[int]) -> RewardRequest:
        """Texts of captions (B, K, T); runs in a thread."""
        captions = [[token for token in ids if token != IGNORE_INDEX] for ids in drawn.flatten(0, 1).tolist()]
        return RewardRequest(
            rows=[row for row in rows for _ in range(drawn.shape[1])],
            hypotheses=[self.captioner.tokenizer.decode_caption(ids) for ids in captions],
            ended=[self.captioner.tokenizer.eos_token_id in ids for ids in captions],
        )

    def _self_critical_loss(self, scored: Scored, samples: Samples, rewards: Rewards) -> Tensor:
        images, num_samples, _ = samples.token_ids.shape
        mask = samples.token_ids.ne(IGNORE_INDEX).flatten(0, 1)
        totals = torch.from_numpy(rewards.total).unflatten(0, (images, -1))
        greedy = totals[:, -1] if samples.greedy_ids is not None else None
        self._record(mask, totals[:, :num_samples], greedy, rewards)
        advantage = advantages(totals[:, :num_samples], self.self_critical.baseline, greedy)
        terms = {f"reward/{name}": float(np.abs(values).sum()) for name, values in rewards.terms.items()}
        self.numbers.note(reward=float(totals.abs().sum()), advantage=float(advantage.abs().sum()), **terms)
        loss = self_critical_loss(scored.token_log_probs, advantage.flatten().to(mask.device, torch.float32), mask)
        count = mask.sum()
        self.meter.add("scst", loss, count)
        if scored.kl is not None:
            self.meter.add("kl", scored.kl, count)
            loss = loss + self.self_critical.kl_weight * scored.kl
        return loss / self._divided_by

    def _record(self, mask: Tensor, sampled: Tensor, greedy: Tensor | None, rewards: Rewards) -> None:
        rows = torch.arange(rewards.total.size).unflatten(0, (len(sampled), -1))
        chosen = rows[:, : sampled.shape[1]].flatten().tolist()  # without the greedy captions
        record_samples(
            self.meter,
            rewards=sampled,
            terms={name: torch.from_numpy(values)[chosen] for name, values in rewards.terms.items()},
            caption_mask=mask,
            ended=[rewards.request.ended[row] for row in chosen],
            captions=[rewards.request.hypotheses[row] for row in chosen],
            greedy_rewards=greedy,
        )

    def _count(self, drawn: Sequence[Samples]) -> None:
        """Count the tokens that a micro-batch's captions add to the step.

        The step's are known only at its end: until then they are the first micro-batch's, times the micro-batches.
        """
        self.pieces.check_others()
        own = torch.stack([samples.token_ids.ne(IGNORE_INDEX).sum() for samples in drawn]).sum()
        count = self.sum_over_processes(own.float())
        if self._micro_step == 1:
            self._divided_by, self._counted = count * self.current_gradient_accumulation_steps, torch.zeros_like(count)
        self._counted = self._counted + count

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if self.current_gradient_accumulation_steps > 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(self._divided_by / self._counted)
        norm = super()._clip_grad_norm(model)
        if not self.numbers.was_skipped:
            step = self.meter.end_step()
            self.alarms.check(
                self.state.global_step + 1,
                reward=step["reward"],
                flat_share=step["flat_share"],
                unended_share=step["unended_share"],
            )
        return norm
