"""A folder of pictures with their captions beside them, or in ``metadata.jsonl`` or ``metadata.csv``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preprocessors.formats.bad_rows import leaving_out
from preprocessors.formats.fields import styled_captions, text_captions
from preprocessors.formats.rows import (
    REMEDY,
    SPLIT_FILES,
    WITHOUT_CAPTION,
    AnnotationRow,
    Format,
    Place,
    Source,
    json_lines,
    text_of,
)
from preprocessors.formats.shards import SPLIT_NAMES, place_inside
from preprocessors.formats.text_tables import named_rows
from preprocessors.pictures.files import PICTURE_SUFFIXES, walk_folders
from utils.io import read_json

METADATA = ("metadata.jsonl", "metadata.csv")
NAME_KEY = "file_name"


def image_folder_rows(folder: Path, root: Path, neutral: str) -> Iterator[AnnotationRow]:
    """Rows of a folder and the folders in it, by name; pictures without a caption come with a ``drop_reason``.

    The captions of a picture are a row of ``metadata.jsonl`` or ``metadata.csv`` in its folder or one above, found by
    ``file_name``; or the ``.txt`` of its name, a caption in each line; or the ``.json`` of its name.

    Args:
        folder: Where to begin.
        root: Folder that names of pictures begin at.
        neutral: Style where there is none.

    Raises:
        ValueError: If captions cannot be read, or a row of metadata has no file name.
    """
    described: set[Path] = set()
    for place, names in walk_folders(folder):
        for name in METADATA:
            if name in names:
                for row in _metadata_rows(place / name, root, neutral):
                    described.add(root / row.image)
                    yield row
        for name in names:
            picture = place / name
            if picture.suffix.lower() in PICTURE_SUFFIXES and picture not in described:
                beside = None
                with leaving_out(picture, 1):
                    beside = _beside(picture, root, neutral)
                if beside is not None:
                    yield beside


def _beside(picture: Path, root: Path, neutral: str) -> AnnotationRow:
    image = picture.relative_to(root).as_posix()
    text, described = picture.with_suffix(".txt"), picture.with_suffix(".json")
    record: dict[str, Any] = {}
    if described.is_file():
        content = read_json(described)
        record = content if isinstance(content, dict) else {"captions": content}
    if text.is_file():
        record |= {"captions": text_captions(text.read_bytes(), str(text))}
    elif not record:
        return AnnotationRow(str(picture), 1, image, {neutral: ()}, None, WITHOUT_CAPTION, image)
    source = str(text if text.is_file() else described)
    return AnnotationRow(source, 1, image, styled_captions(record, source, neutral))


def _metadata_rows(path: Path, root: Path, neutral: str) -> Iterator[AnnotationRow]:
    records = json_lines(path) if path.suffix == ".jsonl" else _cells(path)
    folder = path.parent.relative_to(root)
    for number, record in records:
        where, row = f"{path}, row {number}", None
        with leaving_out(path, number):
            if not isinstance(record, dict):
                raise ValueError(f"{where}: must be a JSON object, got {record!r}. {REMEDY}")
            name = text_of(record, NAME_KEY, where).replace("\\", "/")
            image = os.path.normpath((folder / name).as_posix())
            row = AnnotationRow(str(path), number, image, styled_captions(record, where, neutral))
        if row is not None:
            yield row


def _cells(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a table; a cell may be empty, as one without a style is."""
    for number, record in named_rows(path):
        yield number, {name: text for name, text in record.items() if text}


def _find(place: Place) -> Path:
    folder = place.annotations
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: folder of pictures not found. Check data.annotations.")
    if place.split is not None:
        return folder
    names = [place.file] if place.file else list(SPLIT_NAMES[place.split_name])
    for path in (place_inside(place, name) for name in names):
        if path.is_dir():
            return path
    raise FileNotFoundError(
        f"{folder}: has no folder {' or '.join(names)}. Name it with data.{place.split_name}, or set "
        "data.split=hash to divide all pictures."
    )


def _open_rows(source: Source) -> Iterator[AnnotationRow]:
    return image_folder_rows(source.path, source.images or source.path, source.neutral)


FORMAT = Format(open_rows=_open_rows, find=_find, data_set="image_folder", settings=SPLIT_FILES, holds_pictures=True)
