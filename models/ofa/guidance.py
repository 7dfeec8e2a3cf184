"""The decoder's state where captions are guided, see :mod:`models.guidance`."""

from __future__ import annotations

from torch import Tensor

from models.guidance import guide
from models.ofa.cache import OFACache
from models.ofa.encoder import OFAEncoderOutput


class GuidedCache(OFACache):
    """Decoder state beside a styled prompt, and beside a neutral one for the same pictures.

    Args:
        capacity: As of :class:`OFACache`.
        encoder_outputs: Of the pictures with the neutral prompt.
        weight: As of :func:`models.guidance.guide`.
    """

    def __init__(self, capacity: int, encoder_outputs: OFAEncoderOutput, weight: float) -> None:
        super().__init__(capacity)
        self.encoder_outputs, self.weight = encoder_outputs, weight
        self.neutral = OFACache(capacity)

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the chosen beams on both sides."""
        super().reorder_cache(beam_idx)
        self.neutral.reorder_cache(beam_idx)

    def combine(self, styled: Tensor, neutral: Tensor) -> Tensor:
        """Guided log-probabilities of two sets of logits (N, T, V)."""
        return guide(styled, neutral, self.weight)
