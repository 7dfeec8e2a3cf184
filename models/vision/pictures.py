"""How pictures are made for a network of transformers, from the files beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from preprocessors.pictures.images import MEAN_STD
from utils.small_json import read_small_json

PICTURE_FILES = ("preprocessor_config.json", "processor_config.json")
"""Of which the first that is there is read; a processor's has the other's content under ``image_processor``."""
DEFAULT_SIZE = 224
"""Pixels, where a folder says nothing of its pictures."""


class PictureFacts(TypedDict):
    """``size`` of a square in pixels, ``mean`` and ``std`` of the channels."""

    size: int
    mean: list[float]
    std: list[float]


def read_pictures(folder: Path, image_size: Any) -> PictureFacts:
    """Size, mean and deviation that a network was trained with, from its own preprocessor's file.

    Args:
        folder: Of the network.
        image_size: What its configuration says, where that file says nothing of the size.

    Raises:
        ValueError: If pictures are to be made in a way that is not ours.
    """
    given = _read_preprocessor(folder)
    mean, std = given.get("image_mean", MEAN_STD["imagenet"][0]), given.get("image_std", MEAN_STD["imagenet"][1])
    if given.get("do_normalize") is False:
        mean, std = [0.0] * 3, [1.0] * 3
    sides = [given.get("crop_size"), given.get("size"), image_size, DEFAULT_SIZE]
    return {
        "size": next(side for side in map(_side_of, sides) if side is not None),
        "mean": list(mean),
        "std": list(std),
    }


def _read_preprocessor(folder: Path) -> dict[str, Any]:
    """Of a file of its own, or of the processor's that newer folders have."""
    own, whole = (folder / name for name in PICTURE_FILES)
    given = read_small_json(own) if own.is_file() else {}
    if not own.is_file() and whole.is_file():
        given = read_small_json(whole).get("image_processor", {})
    if given.get("do_flip_channel_order"):
        raise ValueError("it takes pictures with blue first (do_flip_channel_order), which is not supported")
    factor = given.get("rescale_factor", 1 / 255)
    if given.get("do_rescale") is False or abs(factor * 255 - 1) > 1e-3:
        raise ValueError(f"it takes pixels scaled by {factor} (rescale_factor); only 1/255 is supported")
    return given


def _side_of(size: Any) -> int | None:
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    if isinstance(size, list | tuple) and len(set(size)) == 1:
        size = size[0]
    return size if isinstance(size, int) else None
