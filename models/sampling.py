"""Captions drawn from a captioner's own distribution, with the random numbers given from outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.captioner import NextScores
from models.drawing import draw, keep_likeliest
from preprocessors.collator import IGNORE_INDEX

Look = Callable[[Tensor], Tensor]
"""From tokens (N, L) that come behind those seen so far, in the first call the prefix, L at least 0, to the scores of
what comes next, (N, V): ``-inf`` for what is never drawn; they may be overwritten."""


@torch.no_grad()
def draw_captions(
    look: Look,
    uniforms: Tensor,
    *,
    eos_token_id: int,
    device: torch.device,
    with_greedy: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    prefix: Sequence[int] = (),
    fusion: NextScores | None = None,
) -> Tensor:
    """Draw captions token by token from ``softmax(logits / temperature)``.

    No decoding rule is applied: what is drawn is what the model says. Equal uniforms give equal captions, whatever
    else is in the batch.

    Args:
        look: Scores the next token of B * K' captions, those of a picture next to each other.
        uniforms: Random numbers in [0, 1), float64 (B, K, T): one for each caption and position.
        eos_token_id: Ends a caption.
        device: Where ``look`` wants its tokens.
        with_greedy: One more caption per picture, behind its K others: the likeliest token at every position.
        temperature: Above 0.
        top_p: Draw from the likeliest tokens that together have this probability; 1 draws from all.
        prefix: Token ids that every caption starts with, at most T.
        fusion: Added to the scores before the temperature divides them; None adds nothing.

    Returns:
        Token ids, int64 (B * K', T') with K' = K + with_greedy and T' <= T: EOS included, ``-100`` after it. A caption
        that had not ended after T tokens has no EOS.
    """
    images, samples, length = uniforms.shape
    rows = images * (samples + with_greedy)
    tokens = torch.tensor([[*prefix]] * rows, dtype=torch.int64, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    uniforms = F.pad(uniforms.to(device), (0, 0, 0, with_greedy)).flatten(0, 1)  # (N, T)
    columns = [*tokens.T]
    for position in range(len(prefix), length):
        logits = look(tokens).float()
        if fusion is not None:  # on logits: what is the same for all tokens changes no chances
            known = torch.stack(columns, 1) if columns else tokens
            logits = logits + fusion(known)[:, : logits.shape[1]]
        logits = logits.div_(temperature)
        likeliest = logits.unflatten(0, (images, -1))[:, -1].argmax(-1) if with_greedy else None
        chosen = draw(logits if top_p == 1.0 else keep_likeliest(logits, top_p), uniforms[:, position])
        if likeliest is not None:
            chosen.unflatten(0, (images, -1))[:, -1] = likeliest
        columns.append(chosen.masked_fill(ended, IGNORE_INDEX))
        ended |= chosen == eos_token_id
        if ended.all():
            break
        tokens = chosen[:, None]
    return torch.stack(columns, dim=1)
