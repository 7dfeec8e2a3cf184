"""Whether captions ended by themselves or were cut at the limit of their length."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.captioner import Captioner
from preprocessors.collator import IGNORE_INDEX


@torch.no_grad()
def cut_at_limit(captioner: Captioner, encoded: Any, token_ids: Tensor, max_length: int) -> list[bool]:
    """Which captions were cut: they fill the limit, and the model gave their end there less than half of all chances.

    The captioner is asked again only where a caption fills the limit.

    Args:
        captioner: In evaluation mode.
        encoded: What it encoded of B pictures.
        token_ids: Its captions, one of each picture, int64 (B, T).
        max_length: Most caption tokens before EOS.

    Returns:
        B answers.
    """
    ends = token_ids.eq(captioner.tokenizer.eos_token_id)
    filled = (token_ids.ne(IGNORE_INDEX) & ~ends).sum(1) >= max_length
    if not bool(filled.any()):
        return [False] * len(token_ids)
    chances = captioner.token_log_probs(encoded, token_ids).exp().masked_fill(~ends, 0.0).amax(1)
    cut: list[bool] = (filled & (chances < 0.5)).tolist()
    return cut
