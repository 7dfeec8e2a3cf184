"""What the decoder keeps between steps."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from transformers.cache_utils import DynamicCache, EncoderDecoderCache


class DecoderPositions(NamedTuple):
    """Position biases of the decoder, the same for every sample.

    Attributes:
        self_biases: One (1, H, T, T) per layer, the causal mask included; one in all if layers share it.
        cross_bias: (1, H, T, S), the same in every layer.
    """

    self_biases: list[Tensor]
    cross_bias: Tensor


class OFACache(EncoderDecoderCache):
    """Decoder state between steps: self-attention per beam, everything of the image once per image.

    Args:
        capacity: Most decoder positions that will be asked for; the position biases are computed once for all.

    Attributes:
        cross_key_values: Layer index to keys and values of the encoder, each (B, H, S, D). B counts images, so beam
            reordering leaves them alone.
        positions: Biases of all ``capacity`` positions, filled in by the first step.
    """

    def __init__(self, capacity: int) -> None:
        super().__init__(DynamicCache(), DynamicCache())
        self.capacity = capacity
        self.cross_key_values: dict[int, tuple[Tensor, Tensor]] = {}
        self.positions: DecoderPositions | None = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the self-attention of the chosen beams; ``beam_idx`` has shape (B * K,)."""
        self.self_attention_cache.reorder_cache(beam_idx)
