"""Annotation files row by row: one generator per format, each naming file, row and remedy when a row is bad."""

from __future__ import annotations

import pickletools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from utils.io import read_json, read_jsonl

REMEDY = "Correct or remove the row."
TIMEOUT_COMMENT = "[TIMEOUT]"  # what the annotation tool stored when a worker did not answer in time
FLICKR8K_SPLITS = {"train": "train", "dev": "val", "test": "test"}
RELEASE_CAPTIONS = {"humorous": "funny_train.txt", "romantic": "romantic_train.txt"}
RELEASE_NAMES = "train_fu.p"
# All that a pickled list of names needs, in any protocol. None of these opcodes can import or call anything.
LIST_OPCODES = frozenset(
    "PROTO FRAME MARK LIST EMPTY_LIST APPEND APPENDS STOP PUT BINPUT LONG_BINPUT MEMOIZE "
    "UNICODE BINUNICODE SHORT_BINUNICODE STRING BINSTRING SHORT_BINSTRING".split()
)


class AnnotationRow(NamedTuple):
    """One row of an annotation file: a picture and its captions by style.

    ``row`` counts from 1. ``flickr8k_split`` is ``train``, ``val``, ``test`` or None where the file says nothing.
    ``drop_reason`` is not empty if the row is left out by policy, ``drop_detail`` then holds the value at fault.
    """

    source: str
    row: int
    image: str
    captions: dict[str, tuple[str, ...]]
    flickr8k_split: str | None = None
    drop_reason: str = ""
    drop_detail: str = ""

    @property
    def where(self) -> str:
        """File and row, as error messages begin."""
        return f"{self.source}, row {self.row}"


def require_file(path: Path, remedy: str) -> Path:
    """The path itself, if it is a file.

    Raises:
        FileNotFoundError: If it is not; the message ends with ``remedy``.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: annotation file not found. {remedy}")
    return path


def flickrstyle_rows(path: Path) -> Iterator[AnnotationRow]:
    """Rows of the joined FlickrStyle10K file, a JSON list.

    Each row is ``{"image", "flickr8k_split", "humorous", "romantic", "factual": [...]}``; the split may be absent.

    Raises:
        ValueError: If a row lacks its picture or a caption, or has a split that Flickr8k does not have.
    """
    for row, record, where in _json_list(path):
        split = record.get("flickr8k_split")
        if split is not None and split not in tuple(FLICKR8K_SPLITS):
            raise ValueError(
                f"{where}: flickr8k_split is {split!r}, must be one of {', '.join(FLICKR8K_SPLITS)}. {REMEDY}"
            )
        captions = {style: _captions(record, style, where) for style in ("humorous", "romantic", "factual")}
        image = _text(record, "image", where)
        yield AnnotationRow(str(path), row, image, captions, split and FLICKR8K_SPLITS[split])


def flickrstyle_release_rows(folder: Path, *, with_splits: bool) -> Iterator[AnnotationRow]:
    """Rows of FlickrStyle10K's own files: two caption files, line by line, and a pickled list of picture names.

    Args:
        folder: Holds ``funny_train.txt``, ``romantic_train.txt`` and ``train_fu.p``.
        with_splits: Look every picture up in ``Flickr_8k.{train,dev,test}Images.txt`` of the same folder.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a line cannot be decoded or is blank, the files have different lengths, or the pickle holds
            anything but names.
    """
    remedy = "data.annotations must be the folder of the FlickrStyle10K release."
    names = _read_pickled_names(require_file(folder / RELEASE_NAMES, remedy))
    lines = {style: _read_lines(require_file(folder / file, remedy)) for style, file in RELEASE_CAPTIONS.items()}
    lengths = {RELEASE_NAMES: len(names), **{RELEASE_CAPTIONS[style]: len(texts) for style, texts in lines.items()}}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{file} {length}" for file, length in lengths.items())
        raise ValueError(f"{folder}: the files have different numbers of rows ({counts}). Unpack the release again.")
    splits = _read_flickr8k_splits(folder) if with_splits else {}
    # The romantic file stands for the row in messages: a row has the same number in all three.
    source = str(folder / RELEASE_CAPTIONS["romantic"])
    for index, image in enumerate(names):
        captions: dict[str, tuple[str, ...]] = {style: (texts[index],) for style, texts in lines.items()}
        yield AnnotationRow(source, index + 1, image, captions, splits.get(image))


def personality_rows(path: Path, image_suffix: str) -> Iterator[AnnotationRow]:
    """Rows of a Personality-Captions JSON list, as released or in the derived form.

    Each row is ``{"personality", "comment", "image_hash"}`` with ``additional_comments`` (released) or
    ``additional_comments_tok16`` (derived) in the test file. Rows whose comment is blank or ``[TIMEOUT]`` come with a
    ``drop_reason``; such additional comments are left out.

    Args:
        path: The JSON file.
        image_suffix: Put after the hash to make the picture's file name, e.g. ``.jpg``.

    Raises:
        ValueError: If a row has no personality or hash, or a comment is not text.
    """
    for row, record, where in _json_list(path):
        comment = _string(record, "comment", where).strip()
        key = "additional_comments" if "additional_comments" in record else "additional_comments_tok16"
        others = record.get(key, [])
        if not isinstance(others, list) or not all(isinstance(text, str) for text in others):
            raise ValueError(f"{where}: {key!r} must be a list of texts, got {others!r}. {REMEDY}")
        captions = tuple(text.strip() for text in (comment, *others) if not _unusable(text))
        image = _text(record, "image_hash", where) + image_suffix
        style = _text(record, "personality", where)
        reason = _unusable(comment)
        yield AnnotationRow(str(path), row, image, {style: captions}, None, reason, comment if reason else "")


def jsonl_rows(path: Path) -> Iterator[AnnotationRow]:
    """Rows of a JSONL file of ``{"image", "style", "captions": [...] or "..."}``.

    Raises:
        ValueError: If a line is not JSON, or lacks its picture, style or captions.
    """
    for row, record, where in _objects(_json_lines(path), path):
        captions = {_text(record, "style", where): _captions(record, "captions", where)}
        yield AnnotationRow(str(path), row, _text(record, "image", where), captions)


def _unusable(comment: str) -> str:
    if not comment.strip():
        return "blank comment"
    return "[TIMEOUT] comment" if comment.strip() == TIMEOUT_COMMENT else ""


def _json_list(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    records = read_json(path)
    if not isinstance(records, list):
        raise ValueError(f"{path}: must hold a JSON list of rows, got {type(records).__name__}. Check data.format.")
    yield from _objects(enumerate(records, start=1), path)


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        yield from read_jsonl(path)
    except ValueError as error:
        raise ValueError(f"{error}. {REMEDY}") from error


def _objects(records: Iterable[tuple[int, Any]], path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    for row, record in records:
        where = f"{path}, row {row}"
        if not isinstance(record, dict):
            raise ValueError(f"{where}: must be a JSON object, got {record!r}. {REMEDY}")
        yield row, record, where


def _string(record: dict[str, Any], key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        problem = f"must be text, got {value!r}" if key in record else f"is missing (keys: {', '.join(record)})"
        raise ValueError(f"{where}: {key!r} {problem}. {REMEDY}")
    return value


def _text(record: dict[str, Any], key: str, where: str) -> str:
    value = _string(record, key, where).strip()
    if not value:
        raise ValueError(f"{where}: {key!r} is blank. {REMEDY}")
    return value


def _captions(record: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = record.get(key)
    if not isinstance(value, list):
        return (_text(record, key, where),)
    if not value:
        raise ValueError(f"{where}: {key!r} is an empty list, an example needs at least one caption. {REMEDY}")
    return tuple(_text({key: caption}, key, where) for caption in value)


def _read_lines(path: Path) -> list[str]:
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    return [_decode_line(line, f"{path}, row {row}") for row, line in enumerate(lines, start=1)]


def _decode_line(line: bytes, where: str) -> str:
    # FlickrStyle10K is UTF-8 but for one line of the romantic file, which is GB18030.
    for encoding in ("utf-8", "gb18030"):
        try:
            text = line.decode(encoding).strip()
        except UnicodeDecodeError:
            continue
        if not text:
            raise ValueError(f"{where}: blank line, an example needs a caption. {REMEDY}")
        return text
    raise ValueError(f"{where}: neither UTF-8 nor GB18030: {line[:40]!r}. Save the line as UTF-8.")


def _read_pickled_names(path: Path) -> list[str]:
    # Loading a pickle runs whatever its author put into it. Its strings can be read off the opcodes without that.
    names = []
    try:
        for opcode, argument, position in pickletools.genops(path.read_bytes()):
            if opcode.name not in LIST_OPCODES:
                raise ValueError(f"opcode {opcode.name} at byte {position} is not part of a list of names")
            if isinstance(argument, str):
                names.append(argument)
    except ValueError as error:
        raise ValueError(f"{path}: not a pickled list of picture names ({error}). Unpack the release again.") from error
    return names


def _read_flickr8k_splits(folder: Path) -> dict[str, str]:
    splits = {}
    for name, split in FLICKR8K_SPLITS.items():
        path = require_file(
            folder / f"Flickr_8k.{name}Images.txt", "Copy it from Flickr8k beside the captions, or set data.split=hash."
        )
        splits.update(dict.fromkeys(path.read_text(encoding="utf-8").split(), split))
    return splits
