"""Rows of one's own files (CSV, JSON, JSON Lines): what each column holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preprocessors.formats.bad_rows import leaving_out
from preprocessors.formats.rows import REMEDY, AnnotationRow, Source, captions_of, text_of
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


class _Columns(NamedTuple):
    """Which columns of a record hold what."""

    image: str
    style: str | None
    texts: tuple[str, ...]


def own_rows(records: Iterable[tuple[int, dict[str, Any], str]], source: Source) -> Iterator[AnnotationRow]:
    """Rows of records with a picture, captions, and a style if the first one has it.

    Args:
        records: Number of a row, its content, and file and row as messages begin.
        source: Its ``columns`` say what a column holds, in place of the usual names; with them, picture names that come
            without a suffix get ``image_suffix``.

    Raises:
        ValueError: If a record lacks something, or has a style where the others have none.
    """
    known: dict[tuple[str, ...], _Columns] = {}
    suffix = source.image_suffix if "image" in source.columns.values() else ""
    styled: bool | None = None
    for row, record, where in records:
        names = tuple(record)
        columns = known.get(names) or known.setdefault(names, _columns_of(names, source.columns))
        read, has_style = None, columns.style is not None if styled is None else styled
        with leaving_out(source.path, row):
            if columns.style is not None and not has_style:
                raise ValueError(f"{where}: {columns.style!r} is given, but the rows before have no style. {REMEDY}")
            style = text_of(record, columns.style or "style", where) if has_style else source.neutral
            image = text_of(record, columns.image, where)
            if suffix and not Path(image).suffix:
                image += suffix
            read = AnnotationRow(str(source.path), row, image, {style: captions_in(record, columns.texts, where)})
        if read is not None:
            styled = has_style
            yield read


def has_own_columns(record: Iterable[str]) -> bool:
    """Whether a record has a picture and captions under usual names."""
    held = {USUAL_COLUMNS.get(column) for column in record}
    return {"image", "text"} <= held


def _columns_of(names: tuple[str, ...], given: Mapping[str, str]) -> _Columns:
    """The columns among those of a record; one that the map names must be there, or is told to be missing."""
    found: dict[str, list[str]] = {}
    for role in ROLES:
        mapped = [column for column, held in given.items() if held == role]
        usual = [column for column, held in USUAL_COLUMNS.items() if held == role and column in names]
        found[role] = mapped or usual
    style = found["style"]
    return _Columns((found["image"] or ["image"])[0], style[0] if style else None, tuple(found["text"]))


def captions_in(record: dict[str, Any], columns: Sequence[str], where: str) -> tuple[str, ...]:
    """Captions of all these columns; none where a picture is only to be captioned.

    Raises:
        ValueError: If one is no text and no list of texts.
    """
    found: list[str] = []
    for column in columns:
        value = record.get(column)
        if isinstance(value, str):
            listed = list_in_text(value)
            texts = [value] if listed is None and value.strip() else listed
            found += captions_of({column: [*texts]}, column, where) if texts else ()
        elif value != []:
            found += captions_of(record, column, where)
    return tuple(found)
