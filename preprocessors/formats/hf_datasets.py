"""Folders of Hugging Face's ``datasets`` with pictures inside, read as the Parquet or Arrow files that they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from preprocessors.formats.bad_rows import leaving_out
from preprocessors.formats.fields import CAPTION_KEYS, STYLE_KEY, styled_captions
from preprocessors.formats.rows import SPLIT_FILES, AnnotationRow, Format, Source
from preprocessors.formats.shards import expand_shards, files_per_split, root_of
from preprocessors.pictures.columnar import open_table, rows_of


def table_rows(path: Path, root: Path, neutral: str, *, may_lack_captions: bool = False) -> Iterator[AnnotationRow]:
    """Rows of a Parquet or Arrow file; the column of pictures is passed over.

    Args:
        path: The file.
        root: Folder that names of pictures begin at.
        neutral: Style where there is none.
        may_lack_captions: Whether a file may have no column of captions.

    Raises:
        ValueError: If pyarrow is not installed, the file is none of its kind, or a caption is no text.
    """
    table, folder = open_table(path), path.relative_to(root)
    if not may_lack_captions and not {*CAPTION_KEYS} & {*table.columns}:
        raise ValueError(
            f"{path}: no column of captions ({', '.join(CAPTION_KEYS)}); its columns: {', '.join(table.columns)}."
        )
    for row, record in enumerate(rows_of(table, [*CAPTION_KEYS, STYLE_KEY]), start=1):
        captions = None
        with leaving_out(path, row):
            captions = styled_captions(record, f"{path}, row {row}", neutral)
        if captions is not None:
            yield AnnotationRow(str(path), row, (folder / str(row)).as_posix(), captions)


def _open_rows(source: Source) -> Iterator[AnnotationRow]:
    for path in expand_shards(source.path):
        root = source.images or root_of(source.path)
        yield from table_rows(path, root, source.neutral, may_lack_captions=source.may_lack_captions)


FORMAT = Format(
    open_rows=_open_rows,
    find=files_per_split(
        (
            *("data/{split}-*.parquet", "{split}-*.parquet", "{split}.parquet", "{split}/*.parquet"),
            *("{split}/data-*.arrow", "{split}.arrow", "*-{split}.arrow", "*-{split}-*.arrow"),
        ),
        ("data/*.parquet", "*.parquet", "*.arrow"),
    ),
    data_set="hf_datasets",
    settings=SPLIT_FILES,
    holds_pictures=True,
)
