"""Personality-Captions: pictures of YFCC100M by hash, each with captions in one of 215 personalities."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from preprocessors.formats.rows import (
    REMEDY,
    SPLIT_FILES,
    AnnotationRow,
    Format,
    Source,
    file_per_split,
    json_list,
    string_of,
    text_of,
)
from utils.io import read_json, read_text

logger = logging.getLogger(__name__)

STYLE_LISTS = ("personalities.txt", "personalities.json")
HEADING = re.compile(r"\w+ Traits \(\d+\)")
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
        detail = comment if reason else ""
        yield AnnotationRow(str(path), row, image, {style: captions}, drop_reason=reason, drop_detail=detail)


def read_personalities(path: Path) -> list[str]:
    """The personalities of ``personalities.txt`` or ``personalities.json``, in the order of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no list of them.
    """
    if path.suffix != ".json":
        lines = (line.strip() for line in read_text(path).splitlines())
        return [line for line in lines if line and not HEADING.fullmatch(line)]
    content = read_json(path)
    groups = [*content.values()] if isinstance(content, dict) else [content]
    names = [name for group in groups if isinstance(group, list) for name in group]
    if not all(isinstance(group, list) for group in groups) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: must hold a list of personalities, or an object of such lists.")
    return names


def _open_rows(source: Source) -> Iterator[AnnotationRow]:
    """The rows; afterwards a word about personalities that the list beside the file does not have."""
    unlisted: Counter[str] = Counter()
    listed = next((path for name in STYLE_LISTS if (path := source.path.with_name(name)).is_file()), None)
    known = None if listed is None else {name.casefold() for name in read_personalities(listed)}
    for row in personality_rows(source.path, source.image_suffix):
        unlisted.update(style for style in row.captions if known is not None and style.casefold() not in known)
        yield row
    if unlisted:
        named = ", ".join(f"{name!r} ({count} rows)" for name, count in unlisted.most_common(5))
        logger.warning("%s: %d personalities are not in %s: %s", source.path, len(unlisted), listed, named)


def _unusable(comment: str) -> str:
    if not comment.strip():
        return "blank comment"
    return "[TIMEOUT] comment" if comment.strip() == TIMEOUT_COMMENT else ""


FORMAT = Format(
    open_rows=_open_rows,
    find=file_per_split("{split}.json"),
    data_set="personality_captions",
    settings=SPLIT_FILES,
    title="Personality-Captions' form",
    recognises=lambda sample: {"image_hash", "personality", "comment"} <= sample.first.keys(),
)
