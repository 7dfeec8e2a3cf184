"""Captions from files in the forms that people have: COCO's, data sets as published, maps from ids to texts, rows."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from metrics.caption_table import CaptionTable
from metrics.published import UNSTYLED, read_published, read_published_by_style
from preprocessors.formats.recognition import look_at
from preprocessors.formats.rows import id_text
from preprocessors.formats.text_tables import table_rows
from utils.io import read_json, read_jsonl

__all__ = ["UNSTYLED", "CaptionTable", "count_and_list", "read_hypotheses", "read_references", "read_train_captions"]

logger = logging.getLogger(__name__)

FORMS = (
    'COCO annotations {"annotations": [{"image_id", "caption"}, ...]}, a list of such rows, {id: [captions]}, or a '
    "data set as docs/data.md lists them"
)
ROW_COLUMNS = {"image_id", "caption"}
WITH_PICTURES = frozenset({".tar", ".parquet", ".arrow"})
"""Endings of data sets that hold their pictures."""
SHOWN = 20
"""Columns that a message names, and characters of each."""


def read_references(path: Path) -> CaptionTable:
    """Read human captions.

    A row's key is its ``example_id``; without one ``image_id``, or ``<image_id>#<style>`` if it has a style. The list
    of ``images`` in a COCO file gives file names and domains.

    Args:
        path: A file in one of ``FORMS``; rows may also be JSON Lines or a table with ``image_id`` and ``caption``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8 or not JSON, has another form, a row lacks something, or an example has no
            reference with text. Names the file and the place, and counts.
    """
    table = _read_table(path)
    bare = [key for key, captions in table.captions.items() if not any(caption.strip() for caption in captions)]
    if bare:
        raise ValueError(f"{path}: {count_and_list(bare)} without any reference text; leave them out.")
    _warn_of_empty(table, "references are empty")
    return table


def read_hypotheses(path: Path) -> CaptionTable:
    """Read one caption for each example, keyed as ``read_references`` does it; "" is a caption without words.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As ``read_references``, and if an id has no caption or several.
    """
    table = _read_table(path)
    repeated = [key for key, captions in table.captions.items() if len(captions) > 1]
    if repeated:
        same = all(len(set(table.captions[key])) == 1 for key in repeated)
        why = (
            " It is the same each time, as where a sampler fills up its last batch: remove the repeats." if same else ""
        )
        raise ValueError(f"{path}: {count_and_list(repeated)} with more than one caption; each needs one.{why}")
    missing = [key for key, captions in table.captions.items() if not captions]
    if missing:
        raise ValueError(f'{path}: {count_and_list(missing)} with an empty list; write [""] for no words.')
    _warn_of_empty(table, "hypotheses are empty and score 0")
    return table


def read_train_captions(path: Path) -> dict[str, list[str]]:
    """Read training captions by style; those without one are under ``UNSTYLED``.

    Args:
        path: A JSON file: {style: [captions]}, a list of captions, or COCO annotations or a list of rows with
            ``caption`` and, where known, ``style``; or a data set as published, of which its training split counts.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As ``read_references``.
    """
    published = read_published_by_style(path)
    by_style = _group_by_style(path, _read_content(path)) if published is None else published
    if not any(by_style.values()):
        raise ValueError(f"{path}: holds no captions.")
    return by_style


def count_and_list(ids: Collection[str]) -> str:
    """The number of ids, and the first five of them."""
    listed = ", ".join(repr(key) for key, _ in zip(ids, range(5), strict=False))
    return f"{len(ids):,} id{'s' if len(ids) > 1 else ''} ({listed}{', ...' if len(ids) > 5 else ''})"


def _read_table(path: Path) -> CaptionTable:
    table = read_published(path)
    if table is None:
        content = _read_content(path)
        if _is_map(content):
            table = CaptionTable(path, _check_map(path, content))
        else:
            table = _make_table(path, _check_rows(path, content, needed=("image_id", "caption")))
            _add_pictures(table, content)
    if not table.captions:
        raise ValueError(f"{path}: holds no captions.")
    return table


def _read_content(path: Path) -> Any:
    """What a file holds: JSON, or the rows of JSON Lines or of a table as a list."""
    if path.suffix.lower() in WITH_PICTURES and path.is_file():
        raise ValueError(f"{path}: holds pictures, and such files are not read for scores; it must be {FORMS}.")
    try:
        content = read_json(path)
    except ValueError:
        if not path.is_file():
            raise
        sample = look_at(path)
        if sample.first and sample.content is None:
            return [row for _, row in read_jsonl(path)]
        if len(sample.header) < 2:
            raise
        if not set(sample.header) >= ROW_COLUMNS:
            names = ", ".join(name[:SHOWN] for name in sample.header[:SHOWN])  # a table may hold pictures
            raise ValueError(f"{path}: a table whose columns ({names}) are not known; it must be {FORMS}.") from None
        return [record for _, record, _ in table_rows(path)]
    return [content] if isinstance(content, dict) and content.keys() >= ROW_COLUMNS else content


def _add_pictures(table: CaptionTable, content: Any) -> None:
    """File names and domains from the ``images`` of a COCO file, where it has them."""
    pictures = content.get("images") if isinstance(content, dict) else None
    known = {id_text(each.get("id")): each for each in pictures or [] if isinstance(each, dict)}
    for key, image in table.images.items():
        picture = known.get(image, {})
        for column, held in (("file_name", table.files), ("domain", table.domains)):
            if isinstance(picture.get(column), str):
                held[key] = picture[column]


def _group_by_style(path: Path, content: Any) -> dict[str, list[str]]:
    if isinstance(content, list) and all(isinstance(caption, str) for caption in content):
        return {UNSTYLED: content}
    if _is_map(content):
        return _check_map(path, content)
    by_style: dict[str, list[str]] = {}
    for row in _check_rows(path, content, needed=("caption",)):
        by_style.setdefault(row.get("style", UNSTYLED), []).append(row["caption"])
    return by_style


def _make_table(path: Path, rows: Iterable[Mapping[str, Any]]) -> CaptionTable:
    table = CaptionTable(path)
    for row in rows:
        image, style = id_text(row["image_id"]), row.get("style")
        key = id_text(row.get("example_id", image if style is None else f"{image}#{style}"))
        table.captions.setdefault(key, []).append(row["caption"])
        if table.images.setdefault(key, image) != image:
            raise ValueError(f"{path}: {key!r} is of two images, {table.images[key]!r} and {image!r}.")
        if style is not None and table.styles.setdefault(key, style) != style:
            raise ValueError(f"{path}: {key!r} is in two styles, {table.styles[key]!r} and {style!r}.")
    return table


def _is_map(content: Any) -> bool:
    return isinstance(content, dict) and "annotations" not in content


def _check_map(path: Path, content: Mapping[str, Any]) -> dict[str, list[str]]:
    """Captions by id, from lists or single texts."""
    captions = {key: [value] if isinstance(value, str) else value for key, value in content.items()}
    faults = {key: _list_fault(value) for key, value in captions.items()}
    _refuse(path, len(captions), "ids", [f"{key!r} {fault}" for key, fault in faults.items() if fault])
    _check_unique_keys(path)
    return captions


def _list_fault(captions: Any) -> str:
    if not isinstance(captions, list):
        return f"is {_kind(captions)}, not a list of captions"
    odd = next((number for number, caption in enumerate(captions) if not isinstance(caption, str)), None)
    return "" if odd is None else f"[{odd}] is {_kind(captions[odd])}, not a string"


def _check_unique_keys(path: Path) -> None:
    """Refuse a map that has a key twice: the JSON parser keeps the last and loses the others silently."""
    if not path.is_file():  # A pipe can be read only once.
        return
    counts: Counter[str] = Counter()
    json.loads(path.read_bytes(), object_pairs_hook=lambda pairs: counts.update(key for key, _ in pairs))
    repeated = [key for key, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(f"{path}: {count_and_list(repeated)} that stand there more than once; each needs one entry.")


def _check_rows(path: Path, content: Any, needed: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of COCO annotations, or of a list as COCO results have it."""
    rows, name = (content["annotations"], "annotations") if isinstance(content, dict) else (content, "")
    if not isinstance(rows, list):
        raise ValueError(f"{path}: {name or 'the file'} is {_kind(rows)}; it must be {FORMS}.")
    faults = [(number, fault) for number, row in enumerate(rows) if (fault := _row_fault(row, needed))]
    _refuse(path, len(rows), "rows", [f"{name}[{number}] {fault}" for number, fault in faults])
    return rows


def _row_fault(row: Any, needed: Sequence[str]) -> str:
    if not isinstance(row, dict):
        return f"is {_kind(row)}, not an object"
    for name in needed:
        if name not in row:
            return f"has no {name!r}"
    for name in ("image_id", "example_id"):
        value = row.get(name, "")
        if not isinstance(value, str) and type(value) is not int and not (type(value) is float and value.is_integer()):
            return f"has {_kind(row[name])} as {name!r}, not a string or a whole number"
    for name in ("caption", "style"):
        if name in row and not isinstance(row[name], str):
            return f"has {_kind(row[name])} as {name!r}, not a string"
    return ""


def _refuse(path: Path, count: int, noun: str, faults: Sequence[str]) -> None:
    if faults:
        listed = "; ".join(faults[:5]) + ("; ..." if len(faults) > 5 else "")
        raise ValueError(f"{path}: {len(faults):,} of {count:,} {noun} cannot be used: {listed}.")


def _kind(value: Any) -> str:
    if isinstance(value, list | dict | str):
        return {list: "a list", dict: "an object", str: "a string"}[type(value)]
    return json.dumps(value)  # null, true, 3.5


def _warn_of_empty(table: CaptionTable, what: str) -> None:
    empty = sum(not caption.strip() for captions in table.captions.values() for caption in captions)
    if empty:
        logger.warning("%s: %s %s", table.path, f"{empty:,}", what)
