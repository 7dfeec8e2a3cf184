"""What is preferred to what: pairs of captions, how they are ranked, and what a model's loss on them is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.captioner import Captioner, Encoded
from preprocessors.collator import IGNORE_INDEX
from trainers.losses.preference import dpo_margins, preference_loss, simpo_margins


@dataclass(frozen=True)
class Preference:
    """How pairs are learnt.

    Attributes:
        loss: ``dpo``, held to the model as it was at the beginning, or ``simpo``, per token and held to nothing.
        beta: Scale of the implicit rewards.
        gamma: Margin that is aimed at; 0 in DPO.
        cross_entropy_weight: Weight of the cross-entropy of people's captions, or of a file's chosen ones, per token.
    """

    loss: Literal["dpo", "simpo"]
    beta: float
    gamma: float = 0.0
    cross_entropy_weight: float = 0.0


class Pairs(NamedTuple):
    """A pair of captions for each of B pictures.

    Attributes:
        token_ids: int64 (B, 2, T), the chosen caption before the rejected one, with EOS and ``-100`` after it.
        kept: bool (B,), False where neither of the two is better, or both are the same: such a pair teaches nothing.
    """

    token_ids: Tensor
    kept: Tensor


def rank(token_ids: Tensor, rewards: NDArray[np.float64]) -> Pairs:
    """The best and the worst of each picture's captions; of equals the first.

    Args:
        token_ids: int64 (B, K, T).
        rewards: Shape (B, K).
    """
    places = torch.from_numpy(np.stack([rewards.argmax(1), rewards.argmin(1)], axis=1)).to(token_ids.device)  # (B, 2)
    pairs = token_ids[torch.arange(len(token_ids), device=token_ids.device)[:, None], places]
    differ = torch.from_numpy(rewards.max(1) > rewards.min(1)).to(token_ids.device)
    # A language model may round the rewards of one caption, drawn twice, to two numbers.
    return Pairs(pairs, differ & pairs[:, 0].ne(pairs[:, 1]).any(-1))


class PairLoss:
    """The loss of pairs, and what there is to know about it.

    Args:
        rule: How they are learnt.
        captioner: As it is at the beginning, which DPO holds on to.
    """

    def __init__(self, rule: Preference, captioner: Captioner) -> None:
        self.rule = rule
        self.frozen_policy = captioner.frozen_copy() if rule.loss == "dpo" else None

    def __call__(
        self, trainer: Any, captioner: Captioner, encoded: Encoded, batch: dict[str, Tensor], pairs: Pairs
    ) -> Tensor:
        """Loss of the pairs of a micro-batch.

        Logged are, as means over the kept pairs: ``preference`` (the loss, nats), ``margin`` with its deviation,
        ``pair_accuracy`` (the share with a margin above 0), ``chosen_length`` and ``rejected_length`` (tokens with
        EOS), ``chosen_log_prob`` and ``rejected_log_prob`` (nats per token).

        Args:
            trainer: A :class:`trainers.caption_trainer.StyleCaptionTrainer`, in whose number format the frozen policy
                is asked, and whose numbers these are.
            captioner: Called through what is trained.
            encoded: The B pictures.
            batch: They.
            pairs: Of each of them.

        Returns:
            A sum over the kept pairs.
        """
        # Of the pairs that are not kept as well: the captions of a picture are as many everywhere.
        log_probs = _caption_log_probs(captioner, encoded, pairs)[pairs.kept]  # (P, 2)
        lengths = pairs.token_ids.ne(IGNORE_INDEX).sum(-1)[pairs.kept]
        if self.frozen_policy is None:
            margins = simpo_margins(log_probs, lengths, self.rule.beta)
        else:
            with torch.no_grad(), trainer.accelerator.autocast():
                frozen = _caption_log_probs(self.frozen_policy, self.frozen_policy.encode(batch), pairs)[pairs.kept]
            margins = dpo_margins(log_probs, frozen, self.rule.beta)
        loss = preference_loss(margins, self.rule.gamma)
        _record(trainer, loss, margins, lengths, log_probs.detach() / lengths)
        return loss


def _caption_log_probs(captioner: Captioner, encoded: Encoded, pairs: Pairs) -> Tensor:
    """Log-probabilities of whole captions, (B, 2), nats."""
    token_log_probs = captioner.token_log_probs(encoded, pairs.token_ids.flatten(0, 1))
    return token_log_probs.sum(-1).unflatten(0, (-1, 2))


def _record(trainer: Any, loss: Tensor, margins: Tensor, lengths: Tensor, per_token: Tensor) -> None:
    meter, count = trainer.meter, len(margins)
    meter.add("preference", loss, count)
    meter.add_values("margin", margins)
    meter.add("pair_accuracy", margins.gt(0).sum(), count)
    for place, name in enumerate(("chosen", "rejected")):
        meter.add(f"{name}_length", lengths[:, place].sum(), count)
        meter.add(f"{name}_log_prob", per_token[:, place].sum(), count)
