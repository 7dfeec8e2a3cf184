"""Rows of one's own files (CSV, JSON, JSON Lines): what each column holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from preprocessors.formats.rows import REMEDY, AnnotationRow, Source, captions_of, string_of, text_of
from preprocessors.formats.text_tables import list_in_text

ROLES = ("image", "style", "text")
"""What a column can hold: the picture's name, the style, or a caption (or a list of them)."""
USUAL_COLUMNS: Mapping[str, str] = {
    "image": "image",
    "style": "style",
    "captions": "text",
    "caption": "text",
    "text": "text",
}
"""What columns hold that no map names."""


def own_rows(records: Iterable[tuple[int, dict[str, Any], str]], source: Source) -> Iterator[AnnotationRow]:
    """Rows of records with a picture, captions, and a style if the first one has it.

    Args:
        records: Number of a row, its content, and file and row as messages begin.
        source: Its ``columns`` say what a column holds, in place of the usual names; with them, picture names that come
            without a suffix get ``image_suffix``.

    Raises:
        ValueError: If a record lacks something, or has a style where the others have none.
    """
    columns = _columns_by_role(source.columns)
    styled: bool | None = None
    for row, record, where in records:
        named = [column for column in columns["style"] if column in record]
        if styled is None:
            styled = bool(named) or _is_mapped(source, "style")
        if named and not styled:
            raise ValueError(f"{where}: {named[0]!r} is given, but the rows before have no style. {REMEDY}")
        style = text_of(record, _present(columns["style"], record), where) if styled else source.neutral
        captions = _captions(record, columns["text"], where, must_be_there=_is_mapped(source, "text"))
        yield AnnotationRow(str(source.path), row, _image(record, columns["image"], where, source), {style: captions})


def has_own_columns(record: Iterable[str]) -> bool:
    """Whether a record has a picture and captions under usual names."""
    held = {USUAL_COLUMNS.get(column) for column in record}
    return {"image", "text"} <= held


def _columns_by_role(given: Mapping[str, str]) -> dict[str, list[str]]:
    columns = {role: [column for column, held in given.items() if held == role] for role in ROLES}
    usual = {role: [column for column, held in USUAL_COLUMNS.items() if held == role] for role in ROLES}
    return {role: columns[role] or usual[role] for role in ROLES}


def _is_mapped(source: Source, role: str) -> bool:
    return role in source.columns.values()


def _present(columns: list[str], record: Mapping[str, Any]) -> str:
    return next((column for column in columns if column in record), columns[0])


def _image(record: dict[str, Any], columns: list[str], where: str, source: Source) -> str:
    image = text_of(record, _present(columns, record), where)
    return image + source.image_suffix if _is_mapped(source, "image") and not Path(image).suffix else image


def _captions(record: dict[str, Any], columns: list[str], where: str, *, must_be_there: bool) -> tuple[str, ...]:
    """Captions of all text columns; none where a picture is only to be captioned."""
    found: list[str] = []
    for column in columns:
        if column not in record and not must_be_there:
            continue
        value = record.get(column)
        if value == []:
            continue
        listed = list_in_text(value) if isinstance(value, str) else None
        if listed is not None:
            record = record | {column: list(listed)}
            found += captions_of(record, column, where) if listed else ()
        elif isinstance(value, list):
            found += captions_of(record, column, where)
        elif string_of(record, column, where).strip():
            found.append(text_of(record, column, where))
    return tuple(found)
