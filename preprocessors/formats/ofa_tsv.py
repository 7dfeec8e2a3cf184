"""OFA's TSV, pictures and all: uniq-id, image-id, captions joined by ``&&``, objects, the picture in base64."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from preprocessors.formats.rows import REMEDY, SPLIT_FILES, AnnotationRow, Format, Source
from preprocessors.formats.shards import expand_shards, files_per_split, root_of
from preprocessors.pictures.containers import member_name
from preprocessors.pictures.tsv import tsv_lines

JOINT = "&&"


def ofa_rows(path: Path, root: Path, neutral: str) -> Iterator[AnnotationRow]:
    """Rows of a file of OFA; a sixth column, if there is one, is the style.

    Rows with one image id show one picture, that of the first of them.

    Args:
        path: The file.
        root: Folder that names of pictures begin at.
        neutral: Style where there is none.

    Raises:
        ValueError: If a row has other columns, no caption or a blank style, or the picture of an image id changes.
    """
    folder, sizes = path.relative_to(root), dict[str, tuple[int, int]]()
    for line in tsv_lines(path):
        where, name = f"{path}, row {line.row}", member_name(line.image_id)
        captions = tuple(text.strip() for text in line.captions.split(JOINT) if text.strip())
        if not captions:
            raise ValueError(f"{where}: the caption is blank. {REMEDY}")
        if line.style == "":
            raise ValueError(f"{where}: the style is blank. {REMEDY}")
        first_row, size = sizes.setdefault(name, (line.row, line.size))
        if size != line.size:
            raise ValueError(
                f"{where}: image-id {line.image_id!r} has another picture than in row {first_row}. Give each picture "
                "an id of its own."
            )
        image = (folder / name).as_posix()
        yield AnnotationRow(str(path), line.row, image, {neutral if line.style is None else line.style: captions})


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
