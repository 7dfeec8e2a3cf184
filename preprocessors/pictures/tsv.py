"""OFA's TSV: lines of an id, an image id, captions, objects and the picture itself in base64."""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

COLUMNS = ("uniq-id", "image-id", "caption", "objects", "picture in base64")
STYLE_COLUMN = 5
URL_SAFE = bytes.maketrans(b"-_", b"+/")
"""OFA's own files are read with the alphabet for URLs; both are met."""


class TsvLine(NamedTuple):
    """A line without its picture; ``row`` counts from 1, the picture's base64 lies at ``offset``."""

    row: int
    image_id: str
    captions: str
    style: str | None
    offset: int
    size: int


def tsv_lines(path: Path, on_bad: Callable[[int, ValueError], object] | None = None) -> Iterator[TsvLine]:
    """The lines of a file of OFA; pictures are passed over.

    Args:
        path: The file.
        on_bad: Is told the number of a line that cannot be used and why, and may raise; such lines are passed over.
            None raises.

    Raises:
        ValueError: If a line has another number of columns, is not UTF-8, has no image id, or its picture is empty.
    """
    start = 0
    with path.open("rb") as file:
        for row, line in enumerate(file, start=1):
            try:
                yield _read_line(line, row, start, f"{path}, row {row}")
            except ValueError as error:
                if on_bad is None:
                    raise
                on_bad(row, error)
            start += len(line)


def _read_line(line: bytes, row: int, start: int, where: str) -> TsvLine:
    fields = line.rstrip(b"\r\n").split(b"\t")
    if len(fields) not in (len(COLUMNS), STYLE_COLUMN + 1):
        raise ValueError(
            f"{where}: has {len(fields)} columns, must have {', '.join(COLUMNS)} and, if you like, a style, between "
            "tabs. Correct or remove the row."
        )
    head, picture = fields[:4], fields[4]
    style = _decode(fields[STYLE_COLUMN], where) if len(fields) > STYLE_COLUMN else None
    image_id = _decode(head[1], where)
    if not image_id.strip("/") or not picture:
        missing = "picture" if image_id.strip("/") else "image-id"
        raise ValueError(f"{where}: the {missing} is blank. Correct or remove the row.")
    offset = start + sum(map(len, head)) + len(head)
    return TsvLine(row, image_id, _decode(head[2], where), style, offset, len(picture))


def decode_picture(content: bytes) -> bytes:
    """The bytes of a picture.

    Raises:
        ValueError: If the content is no base64.
    """
    try:
        return binascii.a2b_base64(content.translate(URL_SAFE), strict_mode=True)
    except binascii.Error as error:
        raise ValueError(f"bad base64: {error}") from error


def _decode(field: bytes, where: str) -> str:
    try:
        return field.decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8: {field[:40]!r}. Save the file as UTF-8.") from error
