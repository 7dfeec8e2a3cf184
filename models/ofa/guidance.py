"""Guided decoding: captions moved away from what the model says of a picture without a style."""

from __future__ import annotations

import torch
from torch import Tensor

from models.ofa.cache import OFACache
from models.ofa.encoder import OFAEncoderOutput


def decoded_prompts(
    styled: OFAEncoderOutput, neutral: OFAEncoderOutput | None, weight: float
) -> tuple[OFAEncoderOutput, OFAEncoderOutput | None]:
    """What captions are decoded from, and what is held against it: no second pass where one of both has no weight.

    Args:
        styled: Of the pictures with the styled prompt.
        neutral: Of the same with the neutral one; None guides nothing.
        weight: Of :class:`GuidedCache`.
    """
    if neutral is None or weight == 1.0:
        return styled, None
    return (neutral, None) if weight == 0.0 else (styled, neutral)


class GuidedCache(OFACache):
    """Decoder state beside a styled prompt, and beside a neutral one for the same pictures.

    Args:
        capacity: As of :class:`OFACache`.
        encoder_outputs: Of the pictures with the neutral prompt.
        weight: 1 leaves the scores as they are; more makes captions more typical of their style.

    Source:
        Ho and Salimans 2022, arXiv:2207.12598, for diffusion; Sanchez et al. 2023, arXiv:2306.17806, for text.
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
        """``neutral + weight * (styled - neutral)`` of the log-probabilities of two sets of logits (N, T, V)."""
        return torch.lerp(neutral.float().log_softmax(-1), styled.float().log_softmax(-1), self.weight)
