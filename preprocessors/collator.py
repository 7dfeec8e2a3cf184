"""Encoded examples to a batch of tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor

from preprocessors.ofa import EncodedExample

IGNORE_INDEX = -100


class CaptionBatch(TypedDict):
    """What the model's forward takes.

    ``input_ids`` int64 (B, S) and ``decoder_input_ids`` int64 (B, T) are padded on the right; ``patch_images`` float32
    (B, 3, H, W) is in channels_last; ``patch_masks`` bool (B,) is True where there is a picture; ``labels`` int64
    (B, T) holds ``IGNORE_INDEX`` after EOS.
    """

    input_ids: Tensor
    patch_images: Tensor
    patch_masks: Tensor
    decoder_input_ids: Tensor
    labels: Tensor


class CaptionCollator:
    """Pads encoded examples into a :class:`CaptionBatch`.

    Args:
        pad_token_id: Fills ``input_ids`` and ``decoder_input_ids``.
        bos_token_id: First decoder input.
        ignore_index: Fills ``labels``.
    """

    def __init__(self, pad_token_id: int, bos_token_id: int, ignore_index: int = IGNORE_INDEX) -> None:
        self.pad_token_id = pad_token_id
        self.bos_token_id = bos_token_id
        self.ignore_index = ignore_index

    def __call__(self, encoded: Sequence[EncodedExample]) -> CaptionBatch:
        """Make one batch; only tensors, because the trainer moves all of it to the device."""
        return CaptionBatch(
            input_ids=_pad_right([item["input_ids"] for item in encoded], self.pad_token_id),
            patch_images=_stack_channels_last([item["patch_image"] for item in encoded]),
            patch_masks=torch.tensor([item["patch_mask"] for item in encoded], dtype=torch.bool),
            decoder_input_ids=_pad_right(
                [[self.bos_token_id, *item["labels"][:-1]] for item in encoded], self.pad_token_id
            ),
            labels=_pad_right([item["labels"] for item in encoded], self.ignore_index),
        )


def _pad_right(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), fill, dtype=torch.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return padded


def _stack_channels_last(images: Sequence[Tensor]) -> Tensor:
    # Pixels come as (H, W, 3) in memory already, so filling a channels_last tensor is one straight copy.
    stacked = torch.empty((len(images), *images[0].shape), dtype=images[0].dtype, memory_format=torch.channels_last)
    for target, image in zip(stacked, images, strict=True):
        target.copy_(image)
    return stacked
