"""Layers that vision networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm(
    hidden: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, padding: str | tuple[int, ...] | None = None
) -> Tensor:
    """Convolution and batch norm; with fixed statistics the norm is folded into the kernel.

    Folding saves a pass over the activations and their copy for the backward pass, and stays differentiable in the
    norm's weight and bias.

    Args:
        hidden: (B, C, H, W).
        conv: Convolution without bias.
        norm: Its batch norm, in training mode (batch statistics) or evaluation mode (running statistics).
        padding: Of rows and columns; None = the convolution's own.

    Returns:
        (B, C', H', W').
    """
    padding = conv.padding if padding is None else padding
    if norm.training:
        return norm(F.conv2d(hidden, conv.weight, None, conv.stride, padding, conv.dilation, conv.groups))
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None  # the batch norms of these networks all track statistics
    assert variance is not None
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    bias = norm.bias - mean * scale
    kernel = conv.weight * scale[:, None, None, None]
    kernel, bias = kernel.to(hidden.dtype), bias.to(hidden.dtype)
    return F.conv2d(hidden, kernel, bias, conv.stride, padding, conv.dilation, conv.groups)
