"""What every vision network has."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Self

import torch
from torch import nn


class VisionNetwork(nn.Module):
    """Pixels (B, 3, H, W) to features (B, F, h, w) in a grid of ``stride`` pixels.

    Attributes:
        out_channels: F.
        stride: Pixels of a picture per position of the grid, along each side.
        multiple: Height and width of a picture are multiples of this, pixels.
        described: What features depend on beside weights and pictures, if anything.
    """

    out_channels: int
    stride: int
    multiple: int
    described: bytes = b""

    def __init__(self) -> None:
        super().__init__()
        self.frozen_statistics = False

    def stages(self) -> Sequence[nn.Module]:
        """Its parts in the order that a picture passes them; the last ones are the first to be trained."""
        raise NotImplementedError

    def freeze_statistics(self) -> None:
        """Keep the batch norms at their running statistics, in training too."""
        self.frozen_statistics = True
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation.

        Frozen batch norms stay in evaluation, and so does all of a network that is not trained: what drops paths at
        random there would only spoil its features.
        """
        trained = any(parameter.requires_grad for parameter in self.parameters())
        super().train(mode and trained)
        if self.frozen_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self


def hash_weights(network: nn.Module) -> str:
    """SHA-256 (hex) over names, number formats and values of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tuple(values.shape)} {values.dtype}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
