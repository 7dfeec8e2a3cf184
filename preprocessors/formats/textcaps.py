"""TextCaps: pictures of OpenImages with captions that read what is written in them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from preprocessors.formats.rows import (
    REMEDY,
    SPLIT_FILES,
    AnnotationRow,
    Format,
    Source,
    file_per_split,
    identifier_of,
    json_object,
    json_objects,
    placed,
    text_of,
)


def textcaps_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of a TextCaps file, one a picture: its captions stand in several rows, and each row lists them all.

    Raises:
        ValueError: If the file has another form, or a row no picture.
    """
    path = source.path
    content = json_object(path, "data")
    found: dict[str, tuple[int, str, dict[str, None]]] = {}
    for row, record, where in json_objects(enumerate(content["data"], start=1), path):
        key = identifier_of(record, "image_id", where)
        if not key:
            raise ValueError(f"{where}: 'image_id' is missing. {REMEDY}")
        _, _, captions = found.setdefault(key, (row, _image(record, key, source), {}))
        captions |= dict.fromkeys(_captions(record, where))
    for key, (row, image, captions) in found.items():
        yield AnnotationRow(str(path), row, image, {source.neutral: tuple(captions)}, image_id=key)


def _image(record: dict[str, Any], key: str, source: Source) -> str:
    name = record.get("image_path")
    written = Path(name if isinstance(name, str) and name.strip() else f"{key}.jpg")
    # The file says train/x.jpg, its archive unpacks to train_images/x.jpg.
    folders = [folder for folder in (str(written.parent), f"{written.parent}_images") if folder[0] != "."]
    images = source.images
    there = next((folder for folder in folders if images is None or (images / folder).is_dir()), "")
    return placed(images, there, written.name)


def _captions(record: dict[str, Any], where: str) -> list[str]:
    listed = record.get("reference_strs", [])
    if not isinstance(listed, list):
        raise ValueError(f"{where}: 'reference_strs' must be a list, got {listed!r}. {REMEDY}")
    texts = [text_of({"reference_strs": text}, "reference_strs", where) for text in listed]
    return texts + ([text_of(record, "caption_str", where)] if "caption_str" in record else [])


FORMAT = Format(
    open_rows=textcaps_rows,
    find=file_per_split("TextCaps_0.1_{split}.json"),
    data_set="textcaps",
    settings=SPLIT_FILES,
    title="TextCaps' form",
    recognises=lambda sample: {"image_id", "set_name"} <= sample.first_of("data").keys(),
)
