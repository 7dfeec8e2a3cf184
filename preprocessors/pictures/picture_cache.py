"""Pictures that are decoded and resized once, and kept as uint8 for all runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from preprocessors.pictures.images import Resizer, load_image, needed_side, resize
from preprocessors.pictures.row_cache import RowCache, RowIdentity, View, open_rows


@dataclass(frozen=True)
class PictureIdentity(RowIdentity):
    """What a resized picture depends on beside its file.

    Attributes:
        height: Pixels.
        width: Pixels.
        resizer: What resizes it.
        decoded: Pixels a side that a JPEG is decoded at, at least.
    """

    what = "resized pictures"
    setting = "image.cache_mb"
    others = "another size"
    otherwise = "opening the files every epoch"
    stored, given = np.uint8, np.uint8

    height: int
    width: int
    resizer: str
    decoded: int

    @property
    def row_shape(self) -> tuple[int, ...]:
        """As Pillow lays out pixels."""
        return (self.height, self.width, 3)


class KeptPictures:
    """Resized pictures of one size, see :class:`preprocessors.pictures.images.ResizedPictures`.

    Args:
        rows: By picture.
    """

    def __init__(self, rows: RowCache) -> None:
        self._rows = rows

    def __contains__(self, image: Path) -> bool:
        """Whether a picture is kept."""
        return image in self._rows

    def get(self, image: Path) -> Tensor:
        """Its pixels, uint8 (3, H, W), channels last in memory; a copy."""
        return self._rows.get(image).permute(2, 0, 1)


def open_pictures(
    root: Path, size: tuple[int, int], resizer: Resizer, images: Sequence[Path], *, limit_mb: int
) -> KeptPictures | None:
    """Resized pictures; those that nobody has resized yet are, on all cores, by one process at a time.

    A file that changes (its size, or when it was written) is another picture.

    Args:
        root: Folder of all sizes.
        size: Height and width.
        resizer: What resizes.
        images: Picture files.
        limit_mb: Most MiB in ``root``; pictures of sizes that nobody reads make room, the longest unused first.

    Returns:
        None if they do not fit; the log says so.

    Raises:
        FileNotFoundError: If a picture is missing.
        ValueError: If a picture cannot be read.
    """

    def pixels_of(view: View) -> NDArray[Any]:
        pixels = resize(load_image(view.image, needed_side(size, resizer)), size, resizer)
        found: NDArray[Any] = pixels.permute(1, 2, 0).numpy()
        return found

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        rows = open_rows(
            root,
            PictureIdentity(*size, resizer, needed_side(size, resizer)),
            images,
            lambda views: np.stack([*pool.map(pixels_of, views)]),
            limit_mb=limit_mb,
        )
    return None if rows is None else KeptPictures(rows)
