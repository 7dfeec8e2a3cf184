"""SentiCap: pictures of COCO with sentences of a positive or a negative sentiment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from preprocessors.formats.rows import (
    REMEDY,
    AnnotationRow,
    Format,
    Sample,
    Source,
    first_row,
    json_object,
    json_objects,
    objects_of,
    one_file,
    text_of,
)
from preprocessors.formats.text_tables import table_rows

STYLES = {1: "positive", 0: "negative"}
SPLITS = ("train", "val", "test")
TABLE_COLUMNS = {"filename", "raw", "sentiment"}


def senticap_rows(source: Source) -> Iterator[AnnotationRow]:
    """Rows of SentiCap's JSON, one a picture, or of the same as a table, one a sentence.

    The JSON is ``{"images": [{"filename", "split", "sentences": [{"raw", "sentiment": 1 or 0}]}]}``; a table has the
    columns ``filename``, ``raw``, ``sentiment`` and ``split``.

    Raises:
        ValueError: If the file has another form, or a sentiment or split is unknown.
    """
    path = source.path
    if path.suffix in (".csv", ".tsv"):
        for row, record, where in table_rows(path):
            yield _row(source, row, record, [record], where)
        return
    for row, record, where in json_objects(enumerate(json_object(path, "images")["images"], start=1), path):
        yield _row(source, row, record, objects_of(record, "sentences", where), where)


def _row(
    source: Source, row: int, record: dict[str, Any], sentences: list[dict[str, Any]], where: str
) -> AnnotationRow:
    captions: dict[str, tuple[str, ...]] = {}
    for sentence in sentences:
        style = _style(sentence, where)
        captions[style] = (*captions.get(style, ()), text_of(sentence, "raw", where))
    split = record.get("split")
    if split is not None and split not in SPLITS:
        raise ValueError(f"{where}: split is {split!r}, must be one of {', '.join(SPLITS)}. {REMEDY}")
    return AnnotationRow(str(source.path), row, text_of(record, "filename", where), captions, split)


def _style(sentence: dict[str, Any], where: str) -> str:
    sentiment = sentence.get("sentiment")
    number = int(sentiment) if isinstance(sentiment, str) and sentiment.strip() in ("0", "1") else sentiment
    if number not in (0, 1):
        problem = f"is {sentiment!r}" if "sentiment" in sentence else "is missing"
        raise ValueError(f"{where}: 'sentiment' {problem}, must be 1 (positive) or 0 (negative). {REMEDY}")
    return STYLES[int(number)]


def recognises(sample: Sample) -> bool:
    """Whether the sentences of a file have a sentiment."""
    sentence = first_row(sample.first_of("images").get("sentences"))
    return "sentiment" in sentence or set(sample.header) >= TABLE_COLUMNS


FORMAT = Format(
    open_rows=senticap_rows,
    find=one_file("senticap_dataset.json", "data.annotations must be SentiCap's file, or its folder."),
    data_set="senticap",
    own_split="senticap",
    title="SentiCap's form",
    recognises=recognises,
)
