"""A table of one's own: CSV, or with tabs or semicolons."""

from __future__ import annotations

from collections.abc import Iterator

from preprocessors.formats.own_rows import has_own_columns, own_rows
from preprocessors.formats.rows import OWN_FILES, AnnotationRow, Format, Source, file_per_split
from preprocessors.formats.text_tables import table_rows


def csv_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of a table with the columns ``image``, ``style``, ``caption``, or those that ``data.columns`` names.

    A cell may hold a list of captions as Python or JSON write it.

    Raises:
        ValueError: If the table cannot be read, or a row lacks its picture or style.
    """
    yield from own_rows(table_rows(source.path), source)


FORMAT = Format(
    open_rows=csv_rows,
    find=file_per_split("{split}.csv", "{split}.tsv"),
    data_set="csv",
    settings=OWN_FILES,
    title="a CSV table of one's own",
    recognises=lambda sample: has_own_columns(sample.header),
)
