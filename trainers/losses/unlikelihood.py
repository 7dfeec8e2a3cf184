"""Unlikelihood: losses that make unwanted tokens less probable, on people's captions as prefixes.

Each candidate c costs ``-log(1 - p(c | prefix))``. Candidates are chosen per position: tokens that the caption has
already, or words typical of other styles. The token that people wrote there is never one of them.

Source:
    Welleck et al. 2019, arXiv:1908.04319 (token level). Other styles as candidates are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from preprocessors.collator import IGNORE_INDEX

MIN_COMPLEMENT = 1e-5
"""Smallest 1 - p told apart: below it, rounding of float32 logits is as large as 1 - p itself. The loss ends at 11.5
nats, and its gradient is zero there."""


def repetition_unlikelihood(logits: Tensor, labels: Tensor) -> Tensor:
    """Unlikelihood of the tokens that came earlier in the caption.

    Candidates at position t are the different tokens before t, except the target at t.

    Args:
        logits: (B, T, V).
        labels: (B, T), ``-100`` where nothing counts.

    Returns:
        Sum over candidates and counted positions, nats; divide by a token count.
    """
    logits = logits.float()
    batch_size, length = labels.shape
    earlier = labels[:, None, :].expand(batch_size, length, length)  # [b, t, s]: the token at s, a candidate at t
    same = labels[:, :, None].eq(labels[:, None, :])  # (B, T, T)
    before = torch.ones(length, length, dtype=torch.bool, device=labels.device).tril(-1)  # s < t
    first = ~(same & before).any(-1)  # (B, T): not seen before
    counted = labels.ne(IGNORE_INDEX)
    candidate = before & (first & counted)[:, None, :] & ~same & counted[:, :, None]
    return _unlikelihood(logits.gather(-1, earlier.clamp(min=0)), logits, candidate)


def leakage_unlikelihood(logits: Tensor, labels: Tensor, foreign: Tensor) -> Tensor:
    """Unlikelihood of the tokens that belong to other styles.

    Args:
        logits: (B, T, V).
        labels: (B, T), ``-100`` where nothing counts.
        foreign: bool (B, V), True for the candidates of the row's style; the target at a position is exempt there.

    Returns:
        Sum over candidates and counted positions, nats; divide by a token count.

    Raises:
        ValueError: If ``foreign`` does not cover the vocabulary of the logits.
    """
    if foreign.shape != (logits.shape[0], logits.shape[-1]):
        raise ValueError(f"foreign is {tuple(foreign.shape)}; logits {tuple(logits.shape)} need (B, V)")
    logits = logits.float()
    columns = foreign.any(0).nonzero()[:, 0]  # (F,): far fewer than V, and only they are copied
    candidate = foreign[:, None, columns] & labels[..., None].ne(columns) & labels[..., None].ne(IGNORE_INDEX)
    return _unlikelihood(logits[..., columns], logits, candidate)


def _unlikelihood(chosen: Tensor, logits: Tensor, candidate: Tensor) -> Tensor:
    """Sum of -log(1 - p) over the candidates among the chosen logits (B, T, C)."""
    p = (chosen - logits.logsumexp(-1, keepdim=True)).exp()
    return -torch.log1p(-p.clamp(max=1.0 - MIN_COMPLEMENT)).masked_fill(~candidate, 0.0).sum()
