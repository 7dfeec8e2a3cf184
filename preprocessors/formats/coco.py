"""COCO captions: pictures and annotations side by side, each caption an annotation of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from preprocessors.formats.rows import (
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
    objects_of,
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
    pictures: dict[str, tuple[int, str, str]] = {}
    for row, record in enumerate(objects_of(content, "images", str(path)), start=1):
        where = f"{path}, images row {row}"
        name = text_of(record, "file_name", where)
        image = placed(source.images, _folder(record, name), name)
        pictures[identifier_of(record, "id", where)] = row, image, str(record.get("domain", ""))
    annotations = content.get("annotations") or []
    for row, record, where in json_objects(enumerate(annotations, start=1), path, "annotations "):
        key = identifier_of(record, "image_id", where)
        if key not in pictures:
            raise ValueError(f"{where}: no picture in 'images' has its image_id {key!r}. Add it, or remove the row.")
        _, image, domain = pictures[key]
        captions: dict[str, tuple[str, ...]] = {source.neutral: (text_of(record, "caption", where),)}
        yield AnnotationRow(str(path), row, image, captions, image_id=key, domain=domain)
    captioned = {id_text(each.get("image_id")) for each in annotations if isinstance(each, dict)}
    for key, (row, image, domain) in pictures.items():
        if key not in captioned:
            yield AnnotationRow(str(path), row, image, {source.neutral: ()}, image_id=key, domain=domain)


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
