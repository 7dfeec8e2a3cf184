"""The lists of BLIP and LAVIS: a picture, and a caption or a list of them."""

from __future__ import annotations

from collections.abc import Iterator

from preprocessors.formats.rows import (
    SPLIT_FILES,
    AnnotationRow,
    Format,
    Source,
    captions_of,
    file_per_split,
    json_list,
    text_of,
)


def lavis_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of a JSON list of ``{"image", "caption": [...] or "...", "image_id"}``; those of a test file lack captions.

    ``image_id`` is not looked at: results go by the number in the picture's name.

    Raises:
        ValueError: If a row has no picture, or a caption is no text.
    """
    for row, record, where in json_list(source.path):
        captions = captions_of(record, "caption", where) if record.get("caption", []) != [] else ()
        yield AnnotationRow(str(source.path), row, text_of(record, "image", where), {source.neutral: captions})


FORMAT = Format(
    open_rows=lavis_rows,
    find=file_per_split("coco_karpathy_{split}.json", "{split}.json"),
    data_set="lavis",
    settings=SPLIT_FILES,
    title="the form of BLIP and LAVIS",
    recognises=lambda sample: (
        isinstance(sample.content, list) and {"image", "caption"} <= sample.first.keys() and "style" not in sample.first
    ),
)
