"""Text-only style corpora: sentences in a style, without pictures, for the masked-LM task."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from preprocessors.text.captions import clean_caption
from utils.io import read_jsonl

REMEDY = 'Each line must be {"body": text, "meta": style}; correct or remove it.'


class StyledText(NamedTuple):
    """A text, its style as the file writes it, and ``<file>:<line>`` for messages."""

    body: str
    style: str
    where: str


def read_style_corpus(path: Path) -> list[StyledText]:
    """Read a JSONL file of ``{"body": text, "meta": style}``; other keys are passed over.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not JSON, lacks text or style or has one that is blank or not a string, or if the file
            has no rows; names file and line.
    """
    texts = [_styled_text(record, f"{path}:{line}") for line, record in read_jsonl(path)]
    if not texts:
        raise ValueError(f"{path}: the corpus has no rows. Check masked_lm.corpus, or leave it out.")
    return texts


def check_object(record: Any, where: str, remedy: str) -> None:
    """Refuse a line that is no JSON object.

    Raises:
        ValueError: Naming ``where``, and the remedy.
    """
    if not isinstance(record, dict):
        raise ValueError(f"{where}: must be a JSON object, got {record!r}. {remedy}")


def text_of(record: dict[str, Any], key: str, where: str, remedy: str) -> str:
    """A text of a line without outer space.

    Raises:
        ValueError: If it is missing, no text, or blank; names ``where``, and the remedy.
    """
    if key not in record:
        raise ValueError(f"{where}: {key!r} is missing (keys: {', '.join(record)}). {remedy}")
    value = record[key]
    if not isinstance(value, str):
        raise ValueError(f"{where}: {key!r} must be text, got {value!r}. {remedy}")
    if not value.strip():
        raise ValueError(f"{where}: {key!r} is blank. {remedy}")
    return value.strip()


def _styled_text(record: Any, where: str) -> StyledText:
    check_object(record, where, REMEDY)
    body, style = (text_of(record, key, where, REMEDY) for key in ("body", "meta"))
    if not clean_caption(body):
        raise ValueError(f"{where}: 'body' has no words: {body!r}. {REMEDY}")
    return StyledText(body, style, where)
