"""Captions as files that other people's tools read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from utils.io import write_json


class CaptionResult(TypedDict):
    """One row of the COCO result format, plus what a style needs."""

    image_id: str
    """Image file name; the same for every style of one picture."""
    caption: str
    style: str
    example_id: str
    """(image, style) key, unique in a file."""


def write_caption_results(path: Path, rows: Iterable[CaptionResult]) -> None:
    """Write captions in the COCO result format, one object per (image, style).

    Args:
        path: The JSON file to write; replaced only once the new content is complete.
        rows: The captions, in the order to write them.

    Raises:
        ValueError: If two rows have the same example_id.
    """
    listed = list(rows)
    repeated = [example_id for example_id, count in Counter(row["example_id"] for row in listed).items() if count > 1]
    if repeated:
        raise ValueError(f"{path}: example_id {repeated[0]!r} comes twice; each (image, style) has one caption.")
    write_json(path, listed)
