"""Unlikelihood: losses that make unwanted tokens less probable, on people's captions as prefixes.

Each candidate c costs ``-log(1 - p(c | prefix))``. Candidates are chosen per position: tokens that the caption has
already, or words typical of other styles. The token that people wrote there is never one of them.

Of the model's own continuations, candidates are the tokens of n-grams that they repeat.

Source:
    Welleck et al. 2019, arXiv:1908.04319 (token and sequence level). Other styles as candidates are ours.
"""

from __future__ import annotations

import torch
from torch import Tensor

from preprocessors.collator import IGNORE_INDEX

MIN_COMPLEMENT = 1e-5
"""Smallest 1 - p told apart: below it, rounding of float32 logits is as large as 1 - p itself. The loss ends at 11.5
nats, and its gradient is zero there."""


def repetition_unlikelihood(logits: Tensor, labels: Tensor, documents: Tensor | None = None) -> Tensor:
    """Unlikelihood of the tokens that came earlier in the caption or document.

    Candidates at position t are the different tokens before t, except the target at t.

    Args:
        logits: (B, T, V).
        labels: (B, T), ``-100`` where nothing counts.
        documents: int64 (B, T), of several in a row the one that a position belongs to; None is one a row.

    Returns:
        Sum over candidates and counted positions, nats; divide by a token count.
    """
    logits = logits.float()
    batch_size, length = labels.shape
    earlier = labels[:, None, :].expand(batch_size, length, length)  # [b, t, s]: the token at s, a candidate at t
    same = labels[:, :, None].eq(labels[:, None, :])  # (B, T, T)
    before = torch.ones(length, length, dtype=torch.bool, device=labels.device).tril(-1)  # s < t
    if documents is not None:
        before = before & documents[:, :, None].eq(documents[:, None, :])
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


def repeated_ngrams(token_ids: Tensor, n: int) -> Tensor:
    """Which tokens belong to an n-gram that stood in their row before.

    Args:
        token_ids: int64 (N, T), ``-100`` where nothing counts.
        n: Tokens of an n-gram, at least 1.

    Returns:
        bool (N, T).
    """
    repeated = torch.zeros_like(token_ids, dtype=torch.bool)
    if token_ids.shape[1] < n:
        return repeated
    ngrams = token_ids.unfold(1, n, 1)  # (N, T - n + 1, n)
    places = ngrams.shape[1]
    same = ngrams[:, :, None].eq(ngrams[:, None]).all(-1).tril(-1).any(-1) & ngrams.ne(IGNORE_INDEX).all(-1)
    for offset in range(n):
        repeated[:, offset : offset + places] |= same
    return repeated


def sequence_unlikelihood(token_log_probs: Tensor, repeated: Tensor) -> Tensor:
    """Unlikelihood of some tokens that the model itself has written.

    Args:
        token_log_probs: Of the tokens, nats, with gradient. (N, T).
        repeated: bool (N, T), True for the candidates, see :func:`repeated_ngrams`.

    Returns:
        Sum over them, nats; divide by the number of tokens that were written.
    """
    p = token_log_probs.float().exp().clamp(max=1.0 - MIN_COMPLEMENT)
    return -torch.log1p(-p).masked_fill(~repeated, 0.0).sum()


def _unlikelihood(chosen: Tensor, logits: Tensor, candidate: Tensor) -> Tensor:
    """Sum of -log(1 - p) over the candidates among the chosen logits (B, T, C)."""
    p = (chosen - logits.logsumexp(-1, keepdim=True)).exp()
    return -torch.log1p(-p.clamp(max=1.0 - MIN_COMPLEMENT)).masked_fill(~candidate, 0.0).sum()
