"""Captions and style of a record under the names that people give them."""

from __future__ import annotations

from typing import Any

from preprocessors.formats.rows import captions_of, text_of

CAPTION_KEYS = ("captions", "caption", "texts", "text")
"""The first of these that a record has."""
STYLE_KEY = "style"


def styled_captions(record: dict[str, Any], where: str, neutral: str) -> dict[str, tuple[str, ...]]:
    """The captions of a record by its style.

    Args:
        record: Its content.
        where: File and row, as messages begin.
        neutral: Style where the record has none.

    Raises:
        ValueError: If there are no captions, or something is no text.
    """
    style = neutral if record.get(STYLE_KEY) is None else text_of(record, STYLE_KEY, where)
    key = next((name for name in CAPTION_KEYS if record.get(name) is not None), CAPTION_KEYS[0])
    return {style: captions_of(record, key, where)}


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
