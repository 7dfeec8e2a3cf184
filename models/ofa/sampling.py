"""Captions drawn from the model's own distribution, with the random numbers given from outside."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.captioner import NextScores
from models.drawing import draw, keep_likeliest
from models.ofa.cache import OFACache
from models.ofa.encoder import OFAEncoderOutput
from models.ofa.guidance import GuidedCache
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from preprocessors.collator import IGNORE_INDEX


@torch.no_grad()
def sample_captions(
    model: OFAForConditionalGeneration,
    encoder_outputs: OFAEncoderOutput,
    uniforms: Tensor,
    cache: OFACache | None = None,
    *,
    with_greedy: bool = False,
    temperature: float = 1.0,
    top_p: float = 1.0,
    prefix: Sequence[int] = (),
    fusion: NextScores | None = None,
) -> Tensor:
    """Draw captions token by token from ``softmax(logits / temperature)``, padding excluded.

    No decoding rule is applied: what is drawn is what the model says. Equal uniforms give equal captions, whatever
    else is in the batch.

    Args:
        model: In the mode that the encoder outputs were made in.
        encoder_outputs: Of B images; never repeated.
        uniforms: Random numbers in [0, 1), float64 (B, K, T): one for each caption and position.
        cache: An empty one, for T positions; a :class:`GuidedCache` guides the logits. None makes one.
        with_greedy: One more caption per image, behind its K others: the likeliest token at every position.
        temperature: Above 0.
        top_p: Draw from the likeliest tokens that together have this probability; 1 draws from all.
        prefix: Token ids that every caption starts with, at most T.
        fusion: Added to the log-probabilities before the temperature divides them; None adds nothing.

    Returns:
        Token ids, int64 (B * K', T') with K' = K + with_greedy and T' <= T: EOS included, ``-100`` after it. A caption
        that had not ended after T tokens has no EOS.
    """
    images, samples, length = uniforms.shape
    rows = images * (samples + with_greedy)
    weight = model.caption_projection()
    tokens = torch.tensor([[model.config.decoder_start_token_id, *prefix]] * rows, device=weight.device)
    ended = torch.zeros(rows, dtype=torch.bool, device=weight.device)
    uniforms = F.pad(uniforms.to(weight.device), (0, 0, 0, with_greedy)).flatten(0, 1)  # (N, T)
    cache, columns = OFACache(capacity=length) if cache is None else cache, [*tokens.T[1:]]
    for position in range(len(prefix), length):
        logits = F.linear(model.decoder(tokens, encoder_outputs, cache)[:, -1], weight)
        if isinstance(cache, GuidedCache):
            neutral = model.decoder(tokens, cache.encoder_outputs, cache.neutral)[:, -1]
            logits = cache.combine(logits, F.linear(neutral, weight))
        if fusion is not None:  # on logits: what is the same for all tokens changes no chances
            known = torch.stack(columns, 1) if columns else tokens[:, 1:]
            logits = logits.float() + fusion(known)[:, : logits.shape[1]]
        logits = logits.float().div_(temperature)
        logits[:, model.config.pad_token_id] = -torch.inf
        likeliest = logits.unflatten(0, (images, -1))[:, -1].argmax(-1) if with_greedy else None
        chosen = draw(logits if top_p == 1.0 else keep_likeliest(logits, top_p), uniforms[:, position])
        if likeliest is not None:
            chosen.unflatten(0, (images, -1))[:, -1] = likeliest
        columns.append(chosen.masked_fill(ended, IGNORE_INDEX))
        ended |= chosen == model.config.eos_token_id
        if ended.all():
            break
        tokens = chosen[:, None]
    return torch.stack(columns, dim=1)
