"""EfficientNet-Lite: inverted bottlenecks without squeeze-and-excitation, with ReLU6.

Source: Tan and Le 2019, arXiv:1905.11946. The Lite variant keeps stem, head and the number of first and last blocks at
any size. Padding is TensorFlow's ``SAME``, which the published weights were trained with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.vision.layers import conv_norm
from models.vision.network import VisionNetwork

NORM_EPS = 1e-3
STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
MEAN, DEVIATION = 127 / 255, 128 / 255
"""Of every channel, as the Lite variants were trained."""


class LiteShape(NamedTuple):
    """How a size differs from the smallest."""

    width: float
    """Factor of the channels."""
    depth: float
    """Factor of the blocks of a stage."""
    image_size: int
    """Height and width that the published weights were trained with, pixels."""


SHAPES = {"lite0": LiteShape(1.0, 1.0, 224), "lite1": LiteShape(1.0, 1.1, 240), "lite2": LiteShape(1.1, 1.2, 260)}

# Blocks, kernel, stride, expansion, channels of each stage of the smallest size.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


class SameConvNorm(nn.Module):
    """Convolution with ``SAME`` padding and its batch norm.

    Args:
        channels: In.
        out: Out.
        kernel: Side of the kernel.
        stride: Step.
        groups: As many as channels for a depthwise convolution.
    """

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(out, eps=NORM_EPS, momentum=0.01)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', ceil(H / stride), ceil(W / stride))."""
        (kernel, _), (stride, _) = self.conv.kernel_size, self.conv.stride
        height, width = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in hidden.shape[-2:])
        padding = (height // 2, width // 2)
        if height % 2 or width % 2:  # the odd pixel goes to the right and to the bottom
            hidden = F.pad(hidden, (width // 2, width - width // 2, height // 2, height - height // 2))
            padding = (0, 0)
        return conv_norm(hidden, self.conv, self.norm, padding)


class InvertedBottleneck(nn.Module):
    """1x1 to a multiple of the channels, depthwise, 1x1 back; plus the input where shapes allow it."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand = SameConvNorm(channels, wide) if expansion != 1 else None
        self.depthwise = SameConvNorm(wide, wide, kernel, stride, groups=wide)
        self.project = SameConvNorm(wide, out)
        self.has_residual = stride == 1 and channels == out

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        branch = hidden if self.expand is None else F.relu6(self.expand(hidden))
        branch = self.project(F.relu6(self.depthwise(branch)))
        return hidden + branch if self.has_residual else branch


class EfficientNetLite(VisionNetwork):
    """Stem, seven stages of inverted bottlenecks, and the 1x1 convolution that features are taken from.

    Args:
        shape: The size, one of :data:`SHAPES`.
    """

    def __init__(self, shape: LiteShape) -> None:
        super().__init__()
        self.out_channels, self.stride, self.multiple = HEAD_CHANNELS, 32, 1
        self.stem = SameConvNorm(3, STEM_CHANNELS, 3, stride=2)
        stages, channels = [], STEM_CHANNELS
        for number, (blocks, kernel, stride, expansion, wide) in enumerate(_STAGES):
            edge = number in (0, len(_STAGES) - 1)
            count, out = blocks if edge else math.ceil(blocks * shape.depth), round_channels(wide * shape.width)
            rest = [InvertedBottleneck(out, out, kernel, 1, expansion) for _ in range(count - 1)]
            stages.append(nn.Sequential(InvertedBottleneck(channels, out, kernel, stride, expansion), *rest))
            channels = out
        self.blocks = nn.ModuleList(stages)
        self.head = SameConvNorm(channels, HEAD_CHANNELS)

    def stages(self) -> Sequence[nn.Module]:
        """Stem, the seven stages, head."""
        return [self.stem, *self.blocks, self.head]

    def forward(self, patch_images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, 1280, ceil(H / 32), ceil(W / 32))."""
        hidden = F.relu6(self.stem(patch_images.contiguous(memory_format=torch.channels_last)))
        for stage in self.blocks:
            hidden = stage(hidden)
        return F.relu6(self.head(hidden))


def round_channels(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of a divisor that is at least 90% of the number."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded
