"""The picture of the EfficientNet-Lite goldens, made by formula."""

from __future__ import annotations

import torch
from torch import Tensor

SHOWN = 40
"""Logits that are kept."""


def make_picture(side: int) -> Tensor:
    """Waves of another length and direction in each channel, (1, 3, side, side), in [-1, 1]."""
    rows, columns = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    waves = [torch.sin(7 * rows + 3 * columns), torch.cos(11 * columns - 5 * rows), torch.sin(23 * rows * columns)]
    return torch.stack(waves)[None]
