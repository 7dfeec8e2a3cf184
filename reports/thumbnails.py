"""Small pictures inside a page."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from preprocessors.pictures.images import load_image


def thumbnail(path: Path, side: int) -> str:
    """A picture as a JPEG data URI; see :func:`small_jpeg`."""
    return "data:image/jpeg;base64," + base64.b64encode(small_jpeg(path, side)).decode("ascii")


def small_jpeg(path: Path, side: int) -> bytes:
    """A picture as a small JPEG.

    Args:
        path: The picture.
        side: Most pixels of its width and height.

    Raises:
        OSError: If there is no such file.
        ValueError: If it cannot be read.
    """
    small = load_image(path, at_least=2 * side)
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=90, subsampling=0)
    return buffer.getvalue()
