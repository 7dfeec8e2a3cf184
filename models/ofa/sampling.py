"""Captions drawn from OFA's own distribution, over a cache and without a second encoder pass."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from models.ofa.cache import OFACache
from models.ofa.encoder import OFAEncoderOutput
from models.ofa.guidance import GuidedCache
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.sampling import draw_captions


@torch.no_grad()
def sample_captions(
    model: OFAForConditionalGeneration,
    encoder_outputs: OFAEncoderOutput,
    uniforms: Tensor,
    cache: OFACache | None = None,
    **options: Any,
) -> Tensor:
    """Draw captions token by token, padding excluded.

    Args:
        model: In the mode that the encoder outputs were made in.
        encoder_outputs: Of B images; never repeated.
        uniforms: As of :func:`models.sampling.draw_captions`, which has the other options too.
        cache: An empty one, for T positions; a :class:`GuidedCache` guides the logits. None makes one.
        **options: Of :func:`models.sampling.draw_captions`.

    Returns:
        As :func:`models.sampling.draw_captions`.
    """
    weight, held = model.caption_projection(), OFACache(capacity=uniforms.shape[-1]) if cache is None else cache
    start = model.config.decoder_start_token_id

    def look(tokens: Tensor) -> Tensor:
        if held.positions is None:  # nothing has passed the decoder yet
            tokens = F.pad(tokens, (1, 0), value=start)
        logits = F.linear(model.decoder(tokens, encoder_outputs, held)[:, -1], weight)
        if isinstance(held, GuidedCache):
            neutral = model.decoder(tokens, held.encoder_outputs, held.neutral)[:, -1]
            logits = held.combine(logits, F.linear(neutral, weight))
        logits[:, model.config.pad_token_id] = -torch.inf
        return logits

    return draw_captions(look, uniforms, eos_token_id=model.config.eos_token_id, device=weight.device, **options)
