"""COCO captions: pictures and annotations side by side, each caption an annotation of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from preprocessors.formats.bad_rows import leaving_out
from preprocessors.formats.rows import (
    REMEDY,
    SPLIT_FILES,
    AnnotationRow,
    Format,
    Sample,
    Source,
    file_per_split,
    id_text,
    identifier_of,
    json_object,
    json_objects,
    placed,
    text_of,
)

FOLDER = re.compile(r"^COCO_((?:train|val|test)\d{4})_")


def coco_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of a COCO captions file, one a caption, then those of pictures without any.

    Such pictures are what a file without annotations has (``image_info_test2014.json``): their captions are a secret of
    the server that scores them.

    Raises:
        ValueError: If the file has another form, a picture has no name or id, or a caption no picture.
    """
    path = source.path
    content = json_object(path, "images")
    pictures = _pictures(content["images"], source)
    annotations = content.get("annotations") or []
    for row, record, where in json_objects(enumerate(annotations, start=1), path, "annotations "):
        key = _id_of(record, "image_id", where)
        if key not in pictures:
            raise ValueError(f"{where}: no picture in 'images' has its image_id {key!r}. Add it, or remove the row.")
        _, image, domain = pictures[key]
        captions: dict[str, tuple[str, ...]] = {source.neutral: (text_of(record, "caption", where),)}
        yield AnnotationRow(str(path), row, image, captions, image_id=key, domain=domain)
    captioned = {id_text(each.get("image_id")) for each in annotations if isinstance(each, dict)}
    for key, (row, image, domain) in pictures.items():
        if key not in captioned:
            yield AnnotationRow(str(path), row, image, {source.neutral: ()}, image_id=key, domain=domain)


class _Picture(NamedTuple):
    row: int
    image: str
    domain: str


def _pictures(records: list[Any], source: Source) -> dict[str, _Picture]:
    """The pictures by their ids."""
    found: dict[str, _Picture] = {}
    # Captions have numbers of their own: under the same path, that of a bad picture would be taken for a caption's.
    part = Path(f"{source.path}, images")
    for row, record in enumerate(records, start=1):
        where = f"{part} row {row}"
        with leaving_out(part, row):
            if not isinstance(record, dict):
                raise ValueError(f"{where}: must be a JSON object, got {record!r}. {REMEDY}")
            key, name = _id_of(record, "id", where), text_of(record, "file_name", where)
            picture = _Picture(row, placed(source.images, _folder(record, name), name), str(record.get("domain", "")))
            if found.setdefault(key, picture).image != picture.image:
                raise ValueError(f"{where}: row {found[key].row} has the id {key!r} and another picture. {REMEDY}")
    return found


def _id_of(record: dict[str, Any], key: str, where: str) -> str:
    found = identifier_of(record, key, where)
    if not found:
        raise ValueError(f"{where}: {key!r} is missing or blank. {REMEDY}")
    return found


def _folder(record: dict[str, Any], name: str) -> str:
    """The folder of COCO's own archives that holds a picture, "" where nothing tells."""
    found = FOLDER.match(name)
    if found:
        return found[1]
    address = record.get("coco_url")
    return address.split("/")[-2] if isinstance(address, str) and address.count("/") > 2 else ""


def recognises(sample: Sample) -> bool:
    """Whether a file has COCO's pictures, and captions if anything."""
    annotation = sample.first_of("annotations")
    return {"id", "file_name"} <= sample.first_of("images").keys() and (not annotation or "caption" in annotation)


FORMAT = Format(
    open_rows=coco_rows,
    find=file_per_split(
        "captions_{split}2014.json",
        "captions_{split}2017.json",
        "image_info_{split}2014.json",
        "image_info_{split}2017.json",
    ),
    data_set="coco",
    settings=SPLIT_FILES,
    title="COCO's form",
    recognises=recognises,
)
