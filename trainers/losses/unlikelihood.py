"""Unlikelihood: losses that make unwanted tokens less probable, on people's captions as prefixes.

Each candidate c costs ``-log(1 - p(c | prefix))``. Candidates are chosen per position: tokens that the caption has
already, or words typical of other styles. The token that people wrote there is never one of them.

Source:
    Welleck et al. 2019, arXiv:1908.04319 (token level). Other styles as candidates are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from trainers.losses.cross_entropy import IGNORE_INDEX

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


def foreign_token_ids(
    typical_words: Mapping[str, frozenset[str]], encode: Callable[[str], list[int]]
) -> dict[str, list[int]]:
    """Tokens that give away another style.

    Only words that are one token: the first piece of a longer word also begins innocent words, which would be
    punished with it. And only a word's form after a space: at the start of a caption, or capitalised, it goes free.

    Args:
        typical_words: By style its typical words, in lower case.
        encode: Text to token ids, without BOS and EOS.

    Returns:
        By style, in ascending order, the ids of the words that are typical of another style and not of this one.

    Raises:
        ValueError: If there are none in any style.
    """
    all_words = frozenset().union(*typical_words.values())
    pieces = {word: encode(f" {word}") for word in all_words}
    single = {word: ids[0] for word, ids in pieces.items() if len(ids) == 1}
    token_ids = {
        style: sorted(single[word] for word in all_words - own if word in single)
        for style, own in typical_words.items()
    }
    if not any(token_ids.values()):
        raise ValueError(
            f"unlikelihood.leakage: no token is typical of one style and not of another ({len(typical_words)} in all); "
            "it takes two styles that differ in their words. Set it to 0."
        )
    return token_ids
