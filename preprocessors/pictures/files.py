"""The one place where the bytes of a picture come from."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO


def open_picture(path: Path) -> BinaryIO:
    """The bytes of a picture, from their beginning; to be closed.

    Raises:
        OSError: If there is none, or it cannot be read.
    """
    return path.open("rb")
