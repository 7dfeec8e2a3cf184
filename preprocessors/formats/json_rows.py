"""A JSON list of one's own rows."""

from __future__ import annotations

from collections.abc import Iterator

from preprocessors.formats.own_rows import has_own_columns, own_rows
from preprocessors.formats.rows import OWN_FILES, AnnotationRow, Format, Source, file_per_split, json_list


def json_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of a JSON list of ``{"image", "style", "captions"}``, or of what ``data.columns`` names.

    Raises:
        ValueError: If the file is not such a list, or a row lacks its picture or style.
    """
    yield from own_rows(json_list(source.path), source)


FORMAT = Format(
    open_rows=json_rows,
    find=file_per_split("{split}.json"),
    data_set="json",
    settings=OWN_FILES,
    title="a JSON list of one's own",
    recognises=lambda sample: isinstance(sample.content, list) and has_own_columns(sample.first),
)
