"""The vision network of OFA: a ResNet of bottlenecks without its fourth stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.vision.layers import conv_norm
from models.vision.network import VisionNetwork


def drop_path(hidden: Tensor, rate: float, training: bool) -> Tensor:
    """Stochastic depth: zero a residual branch for whole samples and scale the others up.

    Args:
        hidden: Branch output, shape (B, ...).
        rate: Share of samples to zero, in [0, 1).
        training: Off means identity.

    Returns:
        Same shape; same expectation.

    Source:
        Huang et al. 2016, arXiv:1603.09382.
    """
    if rate == 0.0 or not training:
        return hidden
    keep = torch.rand((hidden.shape[0],) + (1,) * (hidden.ndim - 1), device=hidden.device) >= rate
    return hidden * (keep.to(hidden.dtype) / (1.0 - rate))


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the width, plus the input."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int = 1, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        out = width * self.expansion
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        self.drop_path_rate = drop_path_rate

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, 4 * width, H / stride, W / stride)."""
        identity = hidden if self.downsample is None else conv_norm(hidden, *self.downsample)
        branch = F.relu(conv_norm(hidden, self.conv1, self.bn1), inplace=True)
        branch = F.relu(conv_norm(branch, self.conv2, self.bn2), inplace=True)
        branch = conv_norm(branch, self.conv3, self.bn3)
        branch = drop_path(branch, self.drop_path_rate, self.training)
        return F.relu(branch.add_(identity), inplace=True)


class ResNet(VisionNetwork):
    """Stem and three stages of bottlenecks.

    Args:
        layers: Blocks per stage, three numbers.
        width: Channels after the stem; stages end in 4, 8 and 16 times this.
        stem_stride: 4 (published: strided convolution and max pooling) or 2 (no pooling, for small pictures).
        drop_path_rate: Stochastic depth of the last block of each stage; it grows linearly from 0.

    Raises:
        ValueError: If there are not three stages.

    Source:
        He et al. 2016, arXiv:1512.03385; the cut after the third stage is OFA's.
    """

    def __init__(
        self, layers: Sequence[int], width: int = 64, stem_stride: int = 4, drop_path_rate: float = 0.0
    ) -> None:
        super().__init__()
        if len(layers) != 3:
            raise ValueError(f"resnet_layers={list(layers)}: three stages are needed, e.g. [3, 4, 6]")
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool_stem = stem_stride == 4
        self.layer1 = self._stage(width, width, layers[0], 1, drop_path_rate)
        self.layer2 = self._stage(4 * width, 2 * width, layers[1], 2, drop_path_rate)
        self.layer3 = self._stage(8 * width, 4 * width, layers[2], 2, drop_path_rate)
        self.out_channels = 16 * width
        self.stride = self.multiple = 4 * stem_stride

    @staticmethod
    def _stage(channels: int, width: int, blocks: int, stride: int, drop_path_rate: float) -> nn.Sequential:
        rates = torch.linspace(0, drop_path_rate, blocks, device="cpu").tolist()
        rest = [Bottleneck(width * Bottleneck.expansion, width, drop_path_rate=rate) for rate in rates[1:]]
        return nn.Sequential(Bottleneck(channels, width, stride), *rest)

    def stages(self) -> Sequence[nn.Module]:
        """The three stages; the stem is part of the first."""
        return [nn.ModuleList([self.conv1, self.bn1, self.layer1]), self.layer2, self.layer3]

    def forward(self, patch_images: Tensor) -> Tensor:
        """Map pixels to features.

        Args:
            patch_images: (B, 3, H, W).

        Returns:
            (B, 16 * width, H / patch_size, W / patch_size), in channels-last memory.
        """
        hidden = patch_images.contiguous(memory_format=torch.channels_last)
        hidden = F.relu(conv_norm(hidden, self.conv1, self.bn1), inplace=True)
        if self.pool_stem:
            hidden = F.max_pool2d(hidden, 3, stride=2, padding=1)
        return self.layer3(self.layer2(self.layer1(hidden)))
