"""Preference training: what a model thinks of two captions of a picture, and the loss that follows from it.

Of P pairs, the first column is the chosen caption and the second the rejected one. A margin is the implicit reward of
the chosen caption minus that of the rejected one; where it is above 0, the model agrees with the pair.

Source:
    Rafailov et al. 2023, arXiv:2305.18290 (DPO); Meng et al. 2024, arXiv:2405.14734 (SimPO).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def dpo_margins(log_probs: Tensor, frozen_log_probs: Tensor, beta: float) -> Tensor:
    """Margins where a caption's reward is ``beta * (log p(caption) - log p_frozen(caption))``.

    Args:
        log_probs: Of whole captions, sums over their tokens with EOS, with gradient. Shape (P, 2), nats.
        frozen_log_probs: The same of the frozen policy; no gradient flows to them. Shape (P, 2), nats.
        beta: Above 0.

    Returns:
        Shape (P,).

    Raises:
        ValueError: If a shape is wrong.
    """
    _check_pairs(log_probs, frozen_log_probs)
    rewards = beta * (log_probs - frozen_log_probs.detach())
    return rewards[:, 0] - rewards[:, 1]


def simpo_margins(log_probs: Tensor, lengths: Tensor, beta: float) -> Tensor:
    """Margins where a caption's reward is ``beta`` times its mean log-probability per token.

    Args:
        log_probs: As for :func:`dpo_margins`.
        lengths: Tokens of the captions, EOS counted. Shape (P, 2).
        beta: Above 0.

    Returns:
        Shape (P,).

    Raises:
        ValueError: If a shape is wrong.
    """
    _check_pairs(log_probs, lengths)
    rewards = beta * log_probs / lengths
    return rewards[:, 0] - rewards[:, 1]


def preference_loss(margins: Tensor, gamma: float = 0.0) -> Tensor:
    """``-log sigmoid(margin - gamma)``, summed over the pairs; log 2 for a pair whose margin is ``gamma``.

    Args:
        margins: Shape (P,); P may be 0.
        gamma: The margin that is aimed at: 0 in DPO.

    Returns:
        A sum in nats; divide by the pairs of the whole optimizer step.
    """
    return -F.logsigmoid(margins - gamma).sum()


def _check_pairs(log_probs: Tensor, others: Tensor) -> None:
    if log_probs.ndim != 2 or log_probs.shape[1] != 2 or others.shape != log_probs.shape:
        shapes = f"{tuple(log_probs.shape)} and {tuple(others.shape)}"
        raise ValueError(f"needs two numbers of each pair, (P, 2) and (P, 2), not {shapes}")
