"""Whether captions ended by themselves or were cut at the limit of their length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.captioner import Captioner
from models.settings import Decoding
from preprocessors.collator import IGNORE_INDEX


@torch.no_grad()
def cut_at_limit(
    captioner: Captioner,
    encoded: Any,
    token_ids: Tensor,
    decoding: Decoding,
    *,
    neutral: Any = None,
    log_probs: Tensor | None = None,
) -> list[bool]:
    """Which captions were cut: they fill the limit, and their end had less than half of all chances there.

    The captioner is asked again only where a caption fills the limit; its chances are those that captions were chosen
    by, guided where they were.

    Args:
        captioner: In evaluation mode.
        encoded: What it encoded of B pictures.
        token_ids: Its captions, K of each picture, int64 (B * K, T).
        decoding: How it wrote them.
        neutral: What it encoded of the pictures with the neutral prompt, if it was guided.
        log_probs: What its ``token_log_probs`` says of the captions, if that is known.

    Returns:
        B * K answers.
    """
    ends = token_ids.eq(captioner.tokenizer.eos_token_id)
    filled = (token_ids.ne(IGNORE_INDEX) & ~ends).sum(1) >= decoding.max_length
    if not bool(filled.any()):
        return [False] * len(token_ids)
    if neutral is None or decoding.guidance == 1.0:
        chances = (captioner.token_log_probs(encoded, token_ids) if log_probs is None else log_probs).exp()
    else:
        chances = _guided_chances(captioner, (encoded, neutral), token_ids, decoding.guidance)
    cut: list[bool] = (filled & (chances.masked_fill(~ends, 0.0).amax(1) < 0.5)).tolist()
    return cut


def _guided_chances(captioner: Captioner, encoded: tuple[Any, Any], token_ids: Tensor, weight: float) -> Tensor:
    """What guided decoding gave each token (N, T); 0 where there is none."""
    counted = token_ids.ne(IGNORE_INDEX)
    styled, neutral = (
        captioner.logits(one, token_ids, drawable=True, packed=True).float().log_softmax(-1) for one in encoded
    )
    never = neutral.isneginf()  # in both: their difference is no number
    scores = torch.lerp(neutral, styled, weight).masked_fill(never, -torch.inf).softmax(-1)
    chosen = scores.gather(-1, token_ids[counted][:, None])[:, 0]
    return chosen.new_zeros(token_ids.shape).masked_scatter(counted, chosen)
