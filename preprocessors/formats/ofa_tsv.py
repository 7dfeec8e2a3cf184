"""OFA's TSV, pictures and all: uniq-id, image-id, captions joined by ``&&``, objects, the picture in base64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from preprocessors.formats.bad_rows import leave_out, leaving_out
from preprocessors.formats.rows import REMEDY, SPLIT_FILES, AnnotationRow, Format, Source
from preprocessors.formats.shards import expand_shards, files_per_split, root_of
from preprocessors.pictures.containers import member_name
from preprocessors.pictures.tsv import TsvLine, tsv_lines

JOINT = "&&"


def ofa_rows(path: Path, root: Path, neutral: str) -> Iterator[AnnotationRow]:
    """Rows of a file of OFA; a sixth column, if there is one, is the style.

    Rows with one image id show one picture, that of the first of them.

    Args:
        path: The file.
        root: Folder that names of pictures begin at.
        neutral: Style where there is none.

    Raises:
        ValueError: If a row has other columns or a blank style, or the picture of an image id changes.
    """
    folder, sizes = path.relative_to(root), dict[str, tuple[int, int]]()
    for line in tsv_lines(path, partial(leave_out, path)):
        row = None
        with leaving_out(path, line.row):
            row = _row_of(line, path, folder, neutral, sizes)
        if row is not None:
            yield row


def _row_of(line: TsvLine, path: Path, folder: Path, neutral: str, sizes: dict[str, tuple[int, int]]) -> AnnotationRow:
    where, name = f"{path}, row {line.row}", member_name(line.image_id)
    first_row, size = sizes.setdefault(name, (line.row, line.size))
    if size != line.size:
        raise ValueError(
            f"{where}: image-id {line.image_id!r} has another picture than in row {first_row}. Give each picture an id "
            "of its own."
        )
    if line.style == "":
        raise ValueError(f"{where}: the style is blank. {REMEDY}")
    captions = tuple(text.strip() for text in line.captions.split(JOINT) if text.strip())
    styled = {neutral if line.style is None else line.style: captions}
    return AnnotationRow(str(path), line.row, (folder / name).as_posix(), styled)


def _open_rows(source: Source) -> Iterator[AnnotationRow]:
    for path in expand_shards(source.path):
        yield from ofa_rows(path, source.images or root_of(source.path), source.neutral)


FORMAT = Format(
    open_rows=_open_rows,
    find=files_per_split(("{split}.tsv", "caption_{split}.tsv", "caption_stage1_{split}.tsv"), ("*.tsv",)),
    data_set="ofa_tsv",
    settings=SPLIT_FILES,
    holds_pictures=True,
)
