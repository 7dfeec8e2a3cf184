"""Flickr30k's tables: the release's, separated by ``|``, and those with commas that go round."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from preprocessors.formats.karpathy import OWN_SPLIT, SPLITS
from preprocessors.formats.rows import (
    REMEDY,
    AnnotationRow,
    Format,
    Sample,
    Source,
    one_file,
    text_of,
)
from preprocessors.formats.text_tables import list_in_text, table_rows

NAME_COLUMNS = ("image_name", "filename", "image")
CAPTION_COLUMNS = ("comment", "raw", "caption")
NUMBER_AND_COMMENT = re.compile(r"\s*(\d+)\s+(\S.*)")


def flickr30k_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of a table of Flickr30k or Flickr8k, one a caption or one a picture.

    The columns are ``image_name| comment_number| comment`` (the release), ``image,caption``, or ``raw`` with a list
    written as text, ``filename`` and Karpathy's ``split``.

    Raises:
        ValueError: If the table cannot be read, or a row has no picture or caption.
    """
    for row, record, where in table_rows(source.path, _mend):
        image = text_of(record, _column(record, NAME_COLUMNS), where)
        text = text_of(record, _column(record, CAPTION_COLUMNS), where)
        split = record.get("split")
        if split is not None and split not in tuple(SPLITS):
            raise ValueError(f"{where}: split is {split!r}, must be one of {', '.join(SPLITS)}. {REMEDY}")
        captions = tuple(caption.strip() for caption in list_in_text(text) or (text,))
        styled = {source.neutral: captions}
        yield AnnotationRow(str(source.path), row, image, styled, split and SPLITS[split])


def _mend(fields: list[str]) -> list[str]:
    # One row of the release, the fifth of 2199200615.jpg, lacks the mark between number and caption.
    found = NUMBER_AND_COMMENT.fullmatch(fields[1]) if len(fields) == 2 else None
    return [fields[0], *found.groups()] if found else fields


def _column(record: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in record), names[0])


def recognises(sample: Sample) -> bool:
    """Whether a table has the columns of one that is Flickr30k's own."""
    names = {*sample.header}
    return {"image_name", "comment"} <= names or {"raw", "filename", "sentids"} <= names


FORMAT = Format(
    open_rows=flickr30k_rows,
    find=one_file("results.csv", "data.annotations must be a table of Flickr30k, such as results.csv, or its folder."),
    data_set="flickr30k",
    own_split=OWN_SPLIT,
    title="a table of Flickr30k",
    recognises=recognises,
)
