"""What form a file has, and the rows of a file in a form that is named or recognised."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from preprocessors.formats.bad_rows import OtherForm
from preprocessors.formats.rows import AnnotationRow, Place, Sample, Source, first_row
from preprocessors.formats.table import FORMATS, format_of
from preprocessors.formats.text_tables import shape_of
from utils.io import UTF8_BOM

HEAD = 1 << 16
"""Bytes that tell what a file is that is no JSON."""


def open_rows(name: str, source: Source) -> Iterator[AnnotationRow]:
    """Rows of a source in a format.

    Raises:
        OtherForm: If a row cannot be read because the file is in another form, which is named.
        ValueError: If a row cannot be read for any other reason.
    """
    looked = False
    try:
        for row in format_of(name).open_rows(source):
            if not looked and not any(row.captions.values()):
                name_other_form(name, source.path, "no captions")
            looked = True
            yield row
    except OtherForm:
        raise
    except ValueError as error:
        if not looked:  # a file whose first row can be read is in this form; it has a bad row
            name_other_form(name, source.path, str(error))
        raise


def find_source(name: str, place: Place) -> Path:
    """The path of a source, as the format finds it.

    Raises:
        FileNotFoundError: If nothing is there.
        OtherForm: If what is there is in another form, which is named.
    """
    try:
        return format_of(name).find(place)
    except FileNotFoundError as error:
        name_other_form(name, place.annotations, str(error))
        raise


def recognise(path: Path) -> str | None:
    """The format of a file or folder, from its content; None if it is in no form that is known, or is not there."""
    sample = look_at(path)
    known = (name for name, form in FORMATS.items() if form.recognises is not None and form.recognises(sample))
    return next(known, None)


def look_at(path: Path) -> Sample:
    """What a file looks like; whatever is at fault in it, it is no error here."""
    if not path.is_file():
        return Sample(path)
    with path.open("rb") as file:
        data = file.read(HEAD).removeprefix(UTF8_BOM).lstrip()
        if data[:1] not in (b"{", b"["):  # which may be an archive of any size
            return Sample(path, header=shape_of(data.partition(b"\n")[0].decode(errors="replace")).header)
        data += file.read()
    first_line = data.partition(b"\n")[0]
    content = _parsed(data)
    lines = content is None or b"\n" not in data.rstrip()
    row = _parsed(first_line) if lines and data[:1] == b"{" else None
    if isinstance(row, dict) and not any(isinstance(value, list) and first_row(value) for value in row.values()):
        return Sample(path, first=row)
    return Sample(path, content, first_row(content))


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def name_other_form(name: str, path: Path, problem: str) -> None:
    """Refuse a file that is in another form than the named one, and in one that is known.

    Raises:
        OtherForm: Naming it.
    """
    sample = look_at(path)
    own = format_of(name).recognises
    if own is not None and own(sample):
        return
    other = recognise(path)
    if other is not None and other != name:
        raise OtherForm(
            f"{path}: this is {FORMATS[other].title}: data.format={other}. It cannot be read as {name} ({problem})"
        )
