"""Karpathy's JSON of COCO, Flickr8k and Flickr30k: pictures with their sentences and his splits."""

from __future__ import annotations

from collections.abc import Iterator

from preprocessors.formats.rows import (
    REMEDY,
    AnnotationRow,
    Format,
    Sample,
    Source,
    first_row,
    identifier_of,
    json_object,
    json_objects,
    objects_of,
    one_file,
    placed,
    text_of,
)

OWN_SPLIT = "karpathy"
SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
"""``restval`` is what COCO's validation pictures leave over; everybody trains on them."""


def karpathy_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of ``{"images": [{"filename", "filepath", "split", "sentences": [{"raw"}]}]}``, one a picture.

    Raises:
        ValueError: If the file has another form, a sentence has a sentiment, or a split is unknown.
    """
    path = source.path
    content = json_object(path, "images")
    for row, record, where in json_objects(enumerate(content["images"], start=1), path):
        captions = []
        for sentence in objects_of(record, "sentences", where):
            if "sentiment" in sentence:
                raise ValueError(f"{where}: a sentence has a sentiment, which would be lost. {REMEDY}")
            captions.append(text_of(sentence, "raw", where))
        split = record.get("split")
        if split is not None and split not in tuple(SPLITS):
            raise ValueError(f"{where}: split is {split!r}, must be one of {', '.join(SPLITS)}. {REMEDY}")
        image = placed(source.images, str(record.get("filepath", "")), text_of(record, "filename", where))
        key = identifier_of(record, "cocoid", where)
        styled = {source.neutral: tuple(captions)}
        yield AnnotationRow(str(path), row, image, styled, split and SPLITS[split], image_id=key)


def recognises(sample: Sample) -> bool:
    """Whether the pictures of a file have sentences, without a sentiment."""
    picture = sample.first_of("images")
    return {"filename", "sentences"} <= picture.keys() and "sentiment" not in first_row(picture["sentences"])


FORMAT = Format(
    open_rows=karpathy_rows,
    find=one_file("dataset_coco.json", "data.annotations must be Karpathy's file, such as dataset_coco.json."),
    data_set="karpathy",
    own_split=OWN_SPLIT,
    title="Karpathy's form",
    recognises=recognises,
)
