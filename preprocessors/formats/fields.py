"""Captions and style of a record under the names that people give them."""

from __future__ import annotations

from typing import Any

from preprocessors.formats.own_rows import captions_in
from preprocessors.formats.rows import text_of

CAPTION_KEYS = ("captions", "caption", "texts", "text")
"""The first of these that a record has."""
STYLE_KEY = "style"


def styled_captions(record: dict[str, Any], where: str, neutral: str) -> dict[str, tuple[str, ...]]:
    """The captions of a record by its style; none under it where a picture is only to be captioned.

    Args:
        record: Its content.
        where: File and row, as messages begin.
        neutral: Style where the record has none.

    Raises:
        ValueError: If something is no text.
    """
    style = neutral if record.get(STYLE_KEY) is None else text_of(record, STYLE_KEY, where)
    keys = [name for name in CAPTION_KEYS if record.get(name) is not None]
    return {style: captions_in(record, keys[:1], where)}


def text_captions(content: bytes, where: str) -> list[str]:
    """The captions of a text file: a line each, blank lines left out.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not UTF-8 ({error}). Save the file as UTF-8.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
