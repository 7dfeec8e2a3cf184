"""Draws from scores over a vocabulary, the random numbers given from outside."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 256
"""Vocabulary entries that are drawn from at once; near the square root of the vocabulary both levels are short."""


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one column per row by inverting the cumulative distribution, first over blocks of columns, then in a block.

    ``torch.multinomial`` over a vocabulary of 50,265 costs more than the decoder.

    Args:
        logits: (N, V), float32, ``-inf`` for what cannot be drawn; overwritten.
        uniforms: In [0, 1), float64 (N,).

    Returns:
        int64 (N,).
    """
    weights = logits.sub_(logits.amax(-1, keepdim=True)).exp_()
    blocks = F.pad(weights, (0, -weights.shape[1] % BLOCK)).unflatten(1, (-1, BLOCK))
    masses = blocks.sum(-1, dtype=torch.float64)
    block, rest = _invert(masses, uniforms * masses.sum(-1))
    inner = blocks.gather(1, block[:, None, None].expand(-1, 1, BLOCK))[:, 0].double()
    return (block * BLOCK + _invert(inner, rest)[0]).clamp_(max=logits.shape[1] - 1)


def _invert(masses: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """First column (N,) where the running sum of masses (N, C) exceeds the target, and what is left for inside it."""
    sums = masses.cumsum(-1)
    # Rounding can put a target at the total, behind which there is nothing that could be drawn.
    targets = torch.minimum(targets, torch.nextafter(sums[:, -1], torch.zeros_like(targets)))
    # The NaN of a diverged model exceeds nothing. Any column will do: the loss is NaN as well, and that has an alarm.
    column = torch.searchsorted(sums, targets[:, None], right=True).clamp_(max=masses.shape[1] - 1)
    # Looked up, not subtracted: a remainder rounded below zero would choose the first column, whatever its mass.
    before = F.pad(sums, (1, 0)).gather(1, column)
    return column[:, 0], targets - before[:, 0]


def keep_likeliest(logits: Tensor, top_p: float) -> Tensor:
    """Logits (N, V) with ``-inf`` outside the smallest set of tokens whose probabilities reach ``top_p``.

    Source:
        Holtzman et al. 2020, arXiv:1904.09751.
    """
    ordered, order = logits.sort(descending=True)
    probabilities = ordered.softmax(-1)
    outside = probabilities.cumsum(-1) - probabilities >= top_p
    return ordered.masked_fill_(outside, -torch.inf).gather(1, order.argsort())
