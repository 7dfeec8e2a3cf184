"""JSON Lines of one's own: a picture, a style and its captions in each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from preprocessors.formats.rows import (
    SPLIT_FILES,
    AnnotationRow,
    Format,
    captions_of,
    file_per_split,
    json_lines,
    json_objects,
    text_of,
)


def jsonl_rows(path: Path) -> Iterator[AnnotationRow]:
    """Rows of a JSONL file of ``{"image", "style", "captions": [...] or "..."}``; of a test split ``[]`` will do.

    Raises:
        ValueError: If a line is not JSON, or lacks its picture, style or captions.
    """
    for row, record, where in json_objects(json_lines(path), path):
        texts = () if record.get("captions") == [] else captions_of(record, "captions", where)
        captions = {text_of(record, "style", where): texts}
        yield AnnotationRow(str(path), row, text_of(record, "image", where), captions)


FORMAT = Format(
    open_rows=lambda source: jsonl_rows(source.path),
    find=file_per_split("{split}.jsonl"),
    data_set="jsonl",
    settings=SPLIT_FILES,
)
