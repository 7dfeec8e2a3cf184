"""What is known of a picture once it has been opened: its size, hashes of it, and signs that a part of it is gone."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocessors.pictures.files import open_picture
from preprocessors.pictures.modes import as_stored, orientation_of, turned

SIDE = 64
"""JPEGs are decoded at the smallest of their reduced sizes that is no smaller; pixels are compared at that size."""
MID_GREY = 128
"""What libjpeg leaves where the data ended before the picture did."""
GREY_SHARE = 1 / 16
"""Of the height, from the bottom: a grey part that is smaller is not told."""
HOLE_BYTES = 256
"""Zero bytes in a row, in the picture data of a JPEG, that ordinary pictures have not."""
FLAT_RANGE = 8
"""Grey levels between the darkest and brightest place of a picture too flat to be compared."""


class PictureFacts(NamedTuple):
    """One opened picture."""

    width: int
    """Pixels, before it is turned upright."""
    height: int
    orientation: int
    """EXIF's, 1 to 8."""
    file_hash: int
    """64 bits of the file's bytes."""
    pixel_hash: int
    """64 bits of its size and its pixels (JPEGs at reduced size)."""
    across: int
    """64 bits: whether each place of an 8 x 8 grid is brighter than its neighbour to the left; alike for pictures that
    look alike."""
    down: int
    """The same with the neighbour above."""
    is_flat: bool
    """Too flat for ``across`` and ``down`` to mean anything."""
    grey_share: float
    """Share of the height that is nothing but mid-grey, from the bottom."""
    has_hole: bool
    """A JPEG with a run of zero bytes where its picture data should be."""


def inspect_picture(path: Path) -> PictureFacts:
    """Look at a picture that can be read.

    Args:
        path: The file, read once.

    Raises:
        OSError: If it cannot be read. Whatever else Pillow raises on damaged pictures is passed on.
    """
    with open_picture(path) as file:
        data = file.read()
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        is_jpeg = image.format in ("JPEG", "MPO")
        orientation = orientation_of(image)
        image.draft("RGB", (SIDE, SIDE))
        pixels = as_stored(image)
    array = np.asarray(pixels)
    across, down, is_flat = _look(turned(pixels, orientation))
    return PictureFacts(
        width,
        height,
        orientation,
        _hash64(data),
        _hash64(f"{width}x{height}".encode(), array.tobytes()),
        across,
        down,
        is_flat,
        _grey_share(array),
        is_jpeg and _has_hole(data, progressive=bool(image.info.get("progressive"))),
    )


def _hash64(*parts: bytes) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def _look(upright: Image.Image) -> tuple[int, int, bool]:
    grey = np.asarray(upright.convert("L").resize((9, 9), Image.Resampling.BOX), dtype=np.int16)
    across, down = grey[:8, 1:] > grey[:8, :8], grey[1:, :8] > grey[:8, :8]
    return _bits(across), _bits(down), int(grey.max()) - int(grey.min()) < FLAT_RANGE


def _bits(places: NDArray[np.bool_]) -> int:
    return int.from_bytes(np.packbits(places).tobytes(), "big")


def _grey_share(array: NDArray[Any]) -> float:
    other = np.flatnonzero((np.abs(array.astype(np.int16) - MID_GREY) > 1).any(axis=(1, 2)))
    if not len(other):
        return 0.0  # a picture of one grey is a picture of one grey
    return 1 - (int(other[-1]) + 1) / len(array)


def _has_hole(data: bytes, *, progressive: bool) -> bool:
    start = _scan_start(data)
    end = data.find(b"\xff\xd9", start)  # the data of a scan never holds a marker
    scan = data[start : end if end >= 0 else None]
    if bytes(HOLE_BYTES) not in scan:
        return False
    # Flat areas can be coded as zeros too: a block takes two bits at least, one in a progressive file. Only more zeros
    # than the flat blocks there are can account for are a hole.
    run = max(map(len, scan.translate(_ZERO_OR_ONE).split(b"\x01")))
    with Image.open(io.BytesIO(data)) as image:
        return run * (4 if progressive else 1) > _flat_blocks(np.asarray(image.convert("RGB")))


_ZERO_OR_ONE = bytes([0]) + bytes([1]) * 255


def _scan_start(data: bytes) -> int:
    """Where the picture data of a JPEG begins; the end of the file if that cannot be told."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:
        if data[place + 1] == 0xDA:
            return place
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return len(data)


def _flat_blocks(array: NDArray[Any]) -> int:
    """Blocks of 8 x 8 pixels that are of one colour."""
    rows, columns = array.shape[0] // 8, array.shape[1] // 8
    blocks = array[: rows * 8, : columns * 8].reshape(rows, 8, columns, 8, 3)
    return int((blocks.max(axis=(1, 3)) == blocks.min(axis=(1, 3))).all(axis=-1).sum())
