"""Personality-Captions: pictures of YFCC100M by hash, each with captions in one of 215 personalities."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from preprocessors.formats.rows import (
    REMEDY,
    SPLIT_FILES,
    AnnotationRow,
    Format,
    file_per_split,
    json_list,
    string_of,
    text_of,
)

TIMEOUT_COMMENT = "[TIMEOUT]"  # what the annotation tool stored when a worker did not answer in time


def personality_rows(path: Path, image_suffix: str) -> Iterator[AnnotationRow]:
    """Rows of a Personality-Captions JSON list, as released or in the derived form.

    Each row is ``{"personality", "comment", "image_hash"}`` with ``additional_comments`` (released) or
    ``additional_comments_tok16`` (derived) in the test file. Rows whose comment is blank or ``[TIMEOUT]`` come with a
    ``drop_reason``; such additional comments are left out.

    Args:
        path: The JSON file.
        image_suffix: Put after the hash to make the picture's file name, e.g. ``.jpg``.

    Raises:
        ValueError: If a row has no personality or hash, or a comment is not text.
    """
    for row, record, where in json_list(path):
        comment = string_of(record, "comment", where).strip()
        key = "additional_comments" if "additional_comments" in record else "additional_comments_tok16"
        others = record.get(key, [])
        if not isinstance(others, list) or not all(isinstance(text, str) for text in others):
            raise ValueError(f"{where}: {key!r} must be a list of texts, got {others!r}. {REMEDY}")
        captions = tuple(text.strip() for text in (comment, *others) if not _unusable(text))
        image = text_of(record, "image_hash", where) + image_suffix
        style = text_of(record, "personality", where)
        reason = _unusable(comment)
        yield AnnotationRow(str(path), row, image, {style: captions}, None, reason, comment if reason else "")


def _unusable(comment: str) -> str:
    if not comment.strip():
        return "blank comment"
    return "[TIMEOUT] comment" if comment.strip() == TIMEOUT_COMMENT else ""


FORMAT = Format(
    open_rows=lambda source: personality_rows(source.path, source.image_suffix),
    find=file_per_split("{split}.json"),
    data_set="personality_captions",
    settings=SPLIT_FILES,
)
