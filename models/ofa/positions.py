"""Relative and absolute positions of text and image tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def token_buckets(bucket_size: int, max_positions: int) -> Tensor:
    """Bucket of every (query, key) distance between text tokens: exact near by, logarithmic further away.

    Args:
        bucket_size: Distances below half of this keep a bucket each.
        max_positions: Longest text in tokens.

    Returns:
        Row of the relative-position table, in [0, 2 * bucket_size - 2], int64 of shape
        (max_positions, max_positions).

    Source:
        ``make_token_bucket_position`` of ModelScope's OFA.
    """
    positions = torch.arange(max_positions)
    distance = positions[:, None] - positions[None, :]
    middle = bucket_size // 2
    near = (distance < middle) & (distance > -middle)
    magnitude = torch.where(near, middle - 1, distance.abs())
    # A table of one position has no far distances, and log(0) must not reach the cast.
    span = math.log(max(max_positions - 1, middle + 1) / middle)
    far = torch.ceil(torch.log(magnitude / middle) / span * (middle - 1)).int() + middle
    return torch.where(magnitude <= middle, distance, far * distance.sign()) + bucket_size - 1


def image_relative_positions(bucket_size: int) -> int:
    """Rows of the image's relative-position table: (2 b - 1)^2 offsets and three for a class position."""
    return (2 * bucket_size - 1) ** 2 + 3


def image_buckets(bucket_size: int) -> Tensor:
    """Table row for every pair of image positions; position 0 stands for no patch and has three rows of its own.

    Args:
        bucket_size: Patches along one side of the largest image.

    Returns:
        int64 of shape (bucket_size ** 2 + 1, bucket_size ** 2 + 1), symmetric up to the sign of the offset.

    Source:
        ``make_image_bucket_position`` of ModelScope's OFA.
    """
    side, cells, rows = 2 * bucket_size - 1, bucket_size**2, image_relative_positions(bucket_size)
    coordinate = torch.arange(bucket_size)
    offset = coordinate[:, None] - coordinate[None, :] + bucket_size - 1
    table = torch.empty(cells + 1, cells + 1, dtype=torch.int64)
    pairs = offset[:, None, :, None] * side + offset[None, :, None, :]
    table[1:, 1:] = pairs.reshape(cells, cells)
    table[0, :] = rows - 3
    table[:, 0] = rows - 2
    table[0, 0] = rows - 1
    return table


def image_position_ids(height: int, width: int, bucket_size: int, device: torch.device | None = None) -> Tensor:
    """Position of each patch, row by row: ``row * bucket_size + column + 1``.

    Args:
        height: Patches from top to bottom.
        width: Patches from left to right.
        bucket_size: Side of the position table.
        device: Where to put the ids.

    Returns:
        int64 of shape (height * width,).

    Raises:
        ValueError: If the image has more patches along a side than the table.
    """
    if max(height, width) > bucket_size:
        raise ValueError(
            f"an image of {height} x {width} patches does not fit image_bucket_size={bucket_size}; "
            "use smaller pictures (image.size) or a model with a larger table"
        )
    rows = torch.arange(height, device=device)[:, None] * bucket_size
    return (rows + torch.arange(width, device=device)[None, :] + 1).flatten()


def code_image_position_ids(code_image_size: int, bucket_size: int) -> Tensor:
    """The decoder's buffer ``image_position_idx``, for image generation; kept so that checkpoints stay complete.

    Args:
        code_image_size: Side of a generated image in pixels, 8 per code.
        bucket_size: Side of the position table.

    Returns:
        int64 of shape (1 + (code_image_size // 8) ** 2 + 768,).
    """
    window = code_image_size // 8
    rows = torch.arange(window)[:, None] * bucket_size
    grid = (rows + torch.arange(window)[None, :] + 1).flatten()
    return torch.cat([torch.zeros(1, dtype=torch.int64), grid, torch.full((768,), 1024)])
