"""Guided decoding: captions moved away from what the model says of a picture without a style.

Source:
    Ho and Salimans 2022, arXiv:2207.12598, for diffusion; Sanchez et al. 2023, arXiv:2306.17806, for text.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor

E = TypeVar("E")


def decoded_prompts(styled: E, neutral: E | None, weight: float) -> tuple[E, E | None]:
    """What captions are decoded from, and what is held against it: no second pass where one of both has no weight.

    Args:
        styled: Of the pictures with the styled prompt.
        neutral: Of the same with the neutral one; None guides nothing.
        weight: Of :func:`guide`.
    """
    if neutral is None or weight == 1.0:
        return styled, None
    return (neutral, None) if weight == 0.0 else (styled, neutral)


def guide(styled: Tensor, neutral: Tensor, weight: float) -> Tensor:
    """``neutral + weight * (styled - neutral)`` of the log-probabilities of two sets of logits (..., V).

    Args:
        styled: Of the captions with the styled prompt.
        neutral: Of the same with the neutral one.
        weight: 1 leaves the scores as they are; more makes captions more typical of their style.
    """
    return torch.lerp(neutral.float().log_softmax(-1), styled.float().log_softmax(-1), weight)
