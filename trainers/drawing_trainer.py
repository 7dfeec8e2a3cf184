"""The half that trainers share which learn from captions that the model draws itself: drawing, rewards, counting."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.captioner import Captioner, Encoded
from preprocessors.collator import IGNORE_INDEX
from trainers.caption_trainer import StyleCaptionTrainer
from trainers.hf_trainer import TrainingArguments
from trainers.monitoring import DrawingAlarms, record_samples
from trainers.objective import split_tasks
from trainers.pieces import StepStart
from trainers.rewards.calculator import RewardCalculator
from trainers.rewards.terms import RewardRequest, Rewards
from trainers.sampler import Sampler, Samples


class DrawingTrainer(StyleCaptionTrainer):
    """Draws captions of its rows and has them rewarded; a subclass says what is learnt from them.

    The loss is a sum over what was drawn, divided by how much that is in the whole step, over all micro-batches and
    processes. How much is known with the last micro-batch only, so the earlier ones are divided by an estimate and the
    gradient is corrected before it is clipped. Under accumulation the other terms of the loss are therefore weighted by
    that correction too.

    Where a micro-batch does not fit into memory, the captions of all its pieces are drawn before any is scored, so that
    they are counted as if it were whole; the pictures pass the encoder once more for that.

    Args:
        captioner: Trained by cross-entropy.
        args: Trainer's arguments.
        sampler: Draws the captions.
        rewards: Reward calculator over the rows of the training set; closed when training ends, however it does.
        alarms: End a training that learns nothing.
        dropout: Leave dropout on while captions are scored.
        train_batch_norm: Leave the vision network's batch statistics in training.
        **others: As for :class:`StyleCaptionTrainer`.
    """

    def __init__(
        self,
        captioner: Captioner,
        args: TrainingArguments,
        *,
        sampler: Sampler,
        rewards: RewardCalculator,
        alarms: DrawingAlarms,
        dropout: bool = False,
        train_batch_norm: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(captioner, args, **others)
        self.sampler, self.rewards, self.alarms = sampler, rewards, alarms
        self.dropout, self.train_batch_norm = dropout, train_batch_norm
        self.divided_by, self._counted = torch.ones(()), torch.ones(())
        self._drawn: deque[Any] = deque()

    def draw(self, encoded: Encoded, rows: list[int]) -> Any:
        """What is drawn for B pictures before anything is scored, without gradients."""
        raise NotImplementedError

    def count_drawn(self, drawn: Any) -> Tensor:
        """How much of what the loss is a mean over was drawn, a number on the device."""
        raise NotImplementedError

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

    @torch.no_grad()
    def begin_pieces(self, model: nn.Module, micro: int, pieces: Sequence[dict[str, Tensor]]) -> None:
        """Draw for all pieces of a micro-batch, and count it."""
        self.set_mode()
        self._micro_step = micro + 1
        statistics, captioner = StepStart(self.model), self.captioner.through(model)
        for number, piece in enumerate(pieces):
            self.seed_piece(micro, number, len(pieces))
            captions, _ = split_tasks(self._prepare_inputs(piece))
            self._drawn.append(self.draw(captioner.encode(captions), captions["rows"].tolist()))
        statistics.restore_statistics()
        self._count(self._drawn)

    def drawn_for(self, encoded: Encoded, rows: list[int]) -> Any:
        """What was drawn for this micro-batch, or piece of one, and has been counted; now, unless it was before."""
        if self._drawn:
            return self._drawn.popleft()
        drawn = self.draw(encoded, rows)
        self._count([drawn])
        return drawn

    def forget_attempt(self) -> None:
        """Also the captions of the attempt and their rewards."""
        super().forget_attempt()
        self._drawn.clear()
        self.rewards.discard()

    def set_mode(self) -> None:
        """Dropout and batch statistics as they are to be while captions are scored."""
        self.model.train(self.dropout)
        for module in self.captioner.parts()["vision"]:
            module.train(self.train_batch_norm)

    def draw_captions(self, encoded: Encoded, rows: list[int]) -> Samples:
        """Captions without dropout in the decoder, whatever they are scored with."""
        decoder = self.captioner.parts()["decoder"]
        for module in decoder:
            module.eval()
        # A context of its own, which forgets its copies of weights: they were made without gradient.
        with self.whole_captioner() as captioner, self.accelerator.autocast():
            samples = self.sampler.draw(captioner, encoded, rows, self.train_dataset.epoch)
        for module in decoder:
            module.train(self.dropout)
        return samples

    def submit(self, samples: Samples, rows: list[int]) -> int:
        """Give every reward thread its share of the pictures; returns the number of shares."""
        # Copied here: a thread that reads from the device would wait for the forward pass that it is to run beside.
        shares = samples.joined().cpu().chunk(max(self.rewards.workers, 1))
        for number, drawn in enumerate(shares):
            first = number * len(shares[0])
            own = rows[first : first + len(drawn)]
            self.rewards.submit(partial(self._reward_request, drawn, own))
        return len(shares)

    def _reward_request(self, drawn: Tensor, rows: list[int]) -> RewardRequest:
        """Texts of captions (B, K, T); runs in a thread."""
        captions = [[token for token in ids if token != IGNORE_INDEX] for ids in drawn.flatten(0, 1).tolist()]
        return RewardRequest(
            rows=[row for row in rows for _ in range(drawn.shape[1])],
            hypotheses=[self.captioner.tokenizer.decode_caption(ids) for ids in captions],
            ended=[self.captioner.tokenizer.eos_token_id in ids for ids in captions],
        )

    def record_rewards(self, mask: Tensor, sampled: Tensor, greedy: Tensor | None, rewards: Rewards) -> None:
        """Log what there is to know about drawn captions, and note their rewards, which must be numbers.

        Args:
            mask: bool (N, T), True = counts.
            sampled: Rewards (B, K) of the samples.
            greedy: Rewards (B,) of the greedy captions, if there are any.
            rewards: Of both.
        """
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
        named = {"reward": rewards.total} | {f"reward/{name}": values for name, values in rewards.terms.items()}
        self.numbers.note(**{name: float(np.abs(values).sum()) for name, values in named.items()})

    def _count(self, drawn: Sequence[Any]) -> None:
        """Count what a micro-batch adds to the step.

        The step's number is known only at its end: until then it is the first micro-batch's, times the micro-batches.
        """
        self.pieces.check_others()
        own = torch.stack([self.count_drawn(part) for part in drawn]).sum()
        count = self.sum_over_processes(own.float())
        if self._micro_step == 1:
            estimate = count * self.current_gradient_accumulation_steps
            self.divided_by, self._counted = estimate.clamp(min=1), torch.zeros_like(count)
        self._counted = self._counted + count

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        if self.current_gradient_accumulation_steps > 1:
            # Where nothing was counted there is nothing to correct either.
            correction = torch.where(self._counted > 0, self.divided_by / self._counted.clamp(min=1), 1.0)
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(correction)
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
