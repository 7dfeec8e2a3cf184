"""Tables of text (CSV and its kin): their header, their rows as objects, and lists that were written into a cell."""

from __future__ import annotations

import ast
import csv
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from preprocessors.formats.bad_rows import WholeFile, each_record, leaving_out
from preprocessors.formats.rows import REMEDY
from utils.io import read_text

DELIMITERS = ",\t;|"
LINE_END = re.compile(r"[\r\n]")
BARE = re.compile(r"""['"]\s+['"]""")  # texts with nothing between them, which Python would join


class Shape(NamedTuple):
    """How the lines of a table are divided."""

    delimiter: str
    header: tuple[str, ...]


def shape_of(first_line: str) -> Shape:
    """The separator of a header line, which is the one that divides it most often, and its names."""
    line = first_line.rstrip("\r\n")
    delimiter = max(DELIMITERS, key=line.count)
    return Shape(delimiter, tuple(name.strip().strip('"') for name in line.split(delimiter)))


def table_rows(
    path: Path, mend: Callable[[list[str]], list[str]] | None = None
) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Rows of a table of text as objects: number of the line where the row begins, object, file and row for messages.

    The first line names the columns. They are separated by commas, tabs or semicolons, with double quotes round what
    holds one; or by ``|``, where quotes are quotes.

    Args:
        path: The file.
        mend: Makes the fields of a row right that has a known fault.

    Raises:
        ValueError: If the file is not UTF-8, a quote is not closed, or a row has another number of fields.
    """
    for row, record in each_record(named_rows(path, mend), path):
        yield row, record, f"{path}, row {row}"


def named_rows(
    path: Path, mend: Callable[[list[str]], list[str]] | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """As :func:`table_rows`, for those who leave out bad rows themselves."""
    text = read_text(path)
    if text.lstrip().startswith(("{", "[")):
        raise ValueError(f"{path}: must hold a table whose first line names the columns, this is JSON.")
    delimiter, header = shape_of(LINE_END.split(text, maxsplit=1)[0])
    if len(set(header)) < len(header):
        raise ValueError(f"{path}, row 1: two columns have the same name ({', '.join(header)}). Rename one of them.")
    for row, fields in _split(path, text, delimiter):
        if row > 1 and any(map(str.strip, fields)):
            named = None
            with leaving_out(path, row):
                named = _named(mend(fields) if mend else fields, header, delimiter, f"{path}, row {row}")
            if named is not None:
                yield row, named


def list_in_text(text: str) -> tuple[str, ...] | None:
    """The texts of a list that was written as one text, by Python, JSON or numpy; None if this is none."""
    if text[:1] != "[" and not text[:1].isspace():
        return None
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        found = ast.literal_eval(text)
        if BARE.search(text):
            tokens = tokenize.generate_tokens(io.StringIO(text.replace("\n", " ")).readline)
            found = [ast.literal_eval(token.string) for token in tokens if token.type == tokenize.STRING]
    except (ValueError, SyntaxError, tokenize.TokenError):
        return None  # a caption may begin with a bracket
    return tuple(found) if isinstance(found, list) and all(isinstance(item, str) for item in found) else None


def _split(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    lines = io.StringIO(text, newline="")
    if delimiter == "|":
        reader = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
    while True:
        row = reader.line_num + 1
        try:
            yield row, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise WholeFile(
                f"{path}, row {row}: a double quote that is opened here is not closed as it should be ({error}). "
                "Write quotes inside a quoted field twice, and close it; nobody can say where the next row begins."
            ) from error


def _named(fields: list[str], header: tuple[str, ...], delimiter: str, where: str) -> dict[str, Any]:
    if len(fields) != len(header):
        name = {"\t": "tab"}.get(delimiter, repr(delimiter))
        raise ValueError(
            f"{where}: has {len(fields)} fields, but the header names {len(header)} columns. "
            f"Put a field that holds {name} into double quotes. {REMEDY}"
        )
    return dict(zip(header, fields, strict=True))
