"""Encoded examples to a batch of tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor

from preprocessors.examples import CaptionExample
from preprocessors.interface import CaptionPreprocessor, EncodedExample
from preprocessors.pictures.images import ImageTransform

IGNORE_INDEX = -100


class CaptionBatch(TypedDict):
    """What a trainer takes.

    ``rows`` int64 (B,) are places in the data set. ``input_ids`` int64 (B, S) are padded on the right. ``patch_images``
    (P, 3, H, W) is in channels_last, uint8 until :func:`with_normalised` makes it float32 on the device, or
    ``image_features`` (P, F, h, w) stand instead. ``patch_masks`` bool (B,) is True where there is a picture;
    ``labels`` int64 (B, T) holds ``IGNORE_INDEX`` after EOS, or (B, K, T) where rows train up to K captions,
    ``IGNORE_INDEX`` alone in place of those that a row does not have.
    ``pair_labels`` (B, 2, T) are the chosen and the rejected caption of rows that are pairs.
    ``picture_rows`` int64 (B,) says which of the P distinct pictures each row shows; it is there if rows share one, and
    P = B otherwise. Batch norms in training count a picture once. ``masked_input_ids`` (B, S') and ``masked_labels``
    (B, T') are the same of the masked-LM task, which has no pictures; they are there if the examples have them.
    """

    rows: Tensor
    input_ids: Tensor
    patch_images: NotRequired[Tensor]
    image_features: NotRequired[Tensor]
    picture_rows: NotRequired[Tensor]
    patch_masks: Tensor
    labels: Tensor
    pair_labels: NotRequired[Tensor]
    masked_input_ids: NotRequired[Tensor]
    masked_labels: NotRequired[Tensor]


class CaptionCollator:
    """Pads encoded examples into a :class:`CaptionBatch`.

    Args:
        pad_token_id: Fills sources.
    """

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, encoded: Sequence[EncodedExample]) -> CaptionBatch:
        """Make one batch; only tensors, because the trainer moves all of it to the device."""
        batch = CaptionBatch(
            rows=torch.tensor([item["row"] for item in encoded], dtype=torch.int64),
            input_ids=_pad_right([item["input_ids"] for item in encoded], self.pad_token_id),
            patch_masks=torch.tensor([item["patch_mask"] for item in encoded], dtype=torch.bool),
            labels=_caption_labels(encoded),
        )
        if "image_features" in encoded[0]:
            pictures, places = _distinct([item["image_features"] for item in encoded])
            batch["image_features"] = torch.stack(pictures)
        else:
            pictures, places = _distinct([item["patch_image"] for item in encoded])
            batch["patch_images"] = _stack_channels_last(pictures)
        if len(pictures) < len(encoded):
            batch["picture_rows"] = torch.tensor(places, dtype=torch.int64)
        if "pair_labels" in encoded[0]:
            captions = [caption for item in encoded for caption in item["pair_labels"]]
            batch["pair_labels"] = _pad_right(captions, IGNORE_INDEX).unflatten(0, (-1, 2))
        if "masked_ids" in encoded[0]:
            masked_labels = [item["masked_labels"] for item in encoded]
            batch["masked_input_ids"] = _pad_right([item["masked_ids"] for item in encoded], self.pad_token_id)
            batch["masked_labels"] = _pad_right(masked_labels, IGNORE_INDEX)
        return batch


def encode_together(
    preprocessor: CaptionPreprocessor,
    examples: Sequence[tuple[int, CaptionExample]],
    *,
    epoch: int = 0,
    training: bool = False,
    features: Sequence[Tensor] | None = None,
) -> list[EncodedExample]:
    """Encode the examples of a batch: a picture is opened once, and all its examples hold the same tensor.

    Where crops are drawn, every example has pixels of its own.

    Args:
        preprocessor: Makes the model inputs.
        examples: With their rows in the data set.
        epoch: From 0.
        training: Whether to draw.
        features: Of the vision network for each example, (F, h, w), in place of pixels; those of a view are one tensor.
    """
    cropped = training and preprocessor.image_transform.random_crop_from is not None
    known: dict[Path, Tensor] = {}
    encoded = []
    for place, (row, example) in enumerate(examples):
        if features is not None:
            shown = features[place]
            item = preprocessor.encode(example, epoch=epoch, row=row, training=training, image_features=shown)
        else:
            path = example.image_path
            given = None if cropped else known.get(path)
            item = preprocessor.encode(example, epoch=epoch, row=row, training=training, patch_image=given)
            known[path] = item["patch_image"]
        encoded.append(item)
    return encoded


def with_normalised(batch: Mapping[str, Any], transform: ImageTransform) -> dict[str, Any]:
    """A batch whose pictures are what a model takes; to be made where the model is, with a quarter of the bytes moved.

    Args:
        batch: Of :class:`CaptionCollator`, on the device. Pictures that are floats already, and a batch without
            pictures, stay as they are.
        transform: That made the pixels.
    """
    pixels = batch.get("patch_images")
    if pixels is None or pixels.dtype != torch.uint8:
        return dict(batch)
    return {**batch, "patch_images": transform.normalise(pixels)}


def _distinct(tensors: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """The tensors that are not the same object as an earlier one, and for every tensor its place among them."""
    distinct = {id(tensor): tensor for tensor in tensors}
    places = {key: place for place, key in enumerate(distinct)}
    return [*distinct.values()], [places[id(tensor)] for tensor in tensors]


def _caption_labels(encoded: Sequence[EncodedExample]) -> Tensor:
    """Targets (B, T), or (B, K, T) where the examples have several each."""
    if "caption_labels" not in encoded[0]:
        return _pad_right([item["labels"] for item in encoded], IGNORE_INDEX)
    most = max(len(item["caption_labels"]) for item in encoded)
    rows = [[*item["caption_labels"], *[[]] * (most - len(item["caption_labels"]))] for item in encoded]
    return _pad_right([caption for row in rows for caption in row], IGNORE_INDEX).unflatten(0, (len(encoded), most))


def _pad_right(rows: Sequence[Sequence[int]], fill: int) -> Tensor:
    padded = torch.full((len(rows), max(map(len, rows))), fill, dtype=torch.int64)
    for index, row in enumerate(rows):
        padded[index, : len(row)] = torch.tensor(row, dtype=torch.int64)
    return padded


def _stack_channels_last(images: Sequence[Tensor]) -> Tensor:
    # Pillow's pixels are (H, W, 3) in memory already, so filling a channels_last tensor is one straight copy.
    stacked = torch.empty((len(images), *images[0].shape), dtype=images[0].dtype, memory_format=torch.channels_last)
    for target, image in zip(stacked, images, strict=True):
        target.copy_(image)
    return stacked
