"""The joined FlickrStyle10K file: pictures of Flickr8k with humorous, romantic and factual captions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from preprocessors.formats.rows import REMEDY, AnnotationRow, Format, captions_of, json_list, one_file, text_of

FLICKR8K_SPLITS = {"train": "train", "dev": "val", "test": "test"}
JOINED_FILE = "captions.json"


def flickrstyle_rows(path: Path) -> Iterator[AnnotationRow]:
    """Rows of the joined FlickrStyle10K file, a JSON list.

    Each row is ``{"image", "flickr8k_split", "humorous", "romantic", "factual": [...]}``; the split may be absent.

    Raises:
        ValueError: If a row lacks its picture or a caption, or has a split that Flickr8k does not have.
    """
    for row, record, where in json_list(path):
        split = record.get("flickr8k_split")
        if split is not None and split not in tuple(FLICKR8K_SPLITS):
            raise ValueError(
                f"{where}: flickr8k_split is {split!r}, must be one of {', '.join(FLICKR8K_SPLITS)}. {REMEDY}"
            )
        captions = {style: captions_of(record, style, where) for style in ("humorous", "romantic", "factual")}
        image = text_of(record, "image", where)
        yield AnnotationRow(str(path), row, image, captions, split and FLICKR8K_SPLITS[split])


FORMAT = Format(
    open_rows=lambda source: flickrstyle_rows(source.path),
    find=one_file(JOINED_FILE, f"data.annotations must be the joined file or a folder with {JOINED_FILE}."),
    data_set="flickrstyle",
    own_split="flickr8k",
    title="the joined FlickrStyle10K file",
    recognises=lambda sample: {"image", "humorous", "romantic"} <= sample.first.keys(),
)
