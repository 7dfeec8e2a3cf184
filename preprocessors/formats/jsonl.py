"""JSON Lines of one's own: a picture, a style and its captions in each line."""

from __future__ import annotations

from collections.abc import Iterator

from preprocessors.formats.own_rows import has_own_columns, own_rows
from preprocessors.formats.rows import (
    OWN_FILES,
    AnnotationRow,
    Format,
    Source,
    file_per_split,
    json_lines,
    json_objects,
)


def jsonl_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of a JSONL file of ``{"image", "style", "captions": [...] or "..."}``; of a test split ``[]`` will do.

    Raises:
        ValueError: If a line is not JSON, or lacks its picture or style.
    """
    yield from own_rows(json_objects(json_lines(source.path), source.path), source)


FORMAT = Format(
    open_rows=jsonl_rows,
    find=file_per_split("{split}.jsonl"),
    data_set="jsonl",
    settings=OWN_FILES,
    title="JSON Lines of one's own",
    recognises=lambda sample: sample.content is None and has_own_columns(sample.first),
)
