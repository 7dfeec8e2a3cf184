"""All rows that a reader refuses, not only the first."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import orjson

from preprocessors.checks.findings import Case
from preprocessors.examples import CaptionExample
from preprocessors.readers import ReadResult
from utils.io import UTF8_BOM, encode_json, read_json

MOST = 100
"""Rows that are looked for; each costs another reading."""
HEAD = 20
"""Lines of which one must be an object by itself, for the file to be JSON Lines."""
PLACE = re.compile(r"(?P<file>[^\n]+?), (?:row|line) (?P<row>\d+)(?P<fault>[^\n]*)")


def read_all(read: Callable[[Path], ReadResult], annotations: Path) -> tuple[ReadResult, list[Case]]:
    """Read a split, and go on without the rows that are refused.

    The readers stop at the first. It is taken out of a copy of its file, JSON or JSON Lines, and the copy is read,
    until nothing is refused any more.

    Args:
        read: Reads annotations, given where they lie.
        annotations: File or folder.

    Returns:
        What could be read, files and rows as they are, and the rows that could not.

    Raises:
        ValueError: If rows are refused that cannot be taken out, or more than ``MOST``.
        OSError: If a file cannot be read.
    """
    taken: dict[Path, list[int]] = {}
    cases: list[Case] = []
    with tempfile.TemporaryDirectory() as scratch:
        copy = _Copy(annotations, Path(scratch).resolve())
        while True:
            try:
                return copy.as_original(read(copy.place), taken), cases
            except ValueError as error:
                found = PLACE.match(str(error))
                if cases and (found is None or len(cases) == MOST):
                    first = f"{cases[0].where}: {cases[0].value}"
                    raise ValueError(f"{len(cases)} rows and more cannot be read; the first: {first}") from error
                if found is None:
                    raise
                file = copy.original(Path(found["file"]))
                row = _number(int(found["row"]), taken.get(file, ()), is_list=_is_list(file))
                if row in taken.get(file, ()) or not _can_be_taken(file):
                    raise
                taken.setdefault(file, []).append(row)
                copy.write_without(file, taken[file])
                cases.append(Case(f"{file}, row {row}", found["fault"].lstrip(":, ")))


class _Copy:
    """Annotations beside their place, once something is taken out of them; links to what is left as it is."""

    def __init__(self, annotations: Path, scratch: Path) -> None:
        self.annotations, self.scratch = annotations, scratch
        self.place = annotations

    def original(self, file: Path) -> Path:
        if self.place == self.annotations or not file.is_relative_to(self.scratch):
            return file
        name = file.relative_to(self.scratch)
        return self.annotations / name if self.annotations.is_dir() else self.annotations.with_name(name.name)

    def write_without(self, file: Path, rows: Sequence[int]) -> None:
        if self.place == self.annotations:
            self._link()
        is_inside = self.annotations.is_dir() and file.is_relative_to(self.annotations)
        target = self.scratch / (file.relative_to(self.annotations) if is_inside else file.name)
        target.unlink(missing_ok=True)
        target.write_bytes(_without(file, rows))

    def _link(self) -> None:
        if not self.annotations.is_dir():
            self.place = self.scratch / self.annotations.name
            return
        self.place = self.scratch
        for entry in self.annotations.iterdir():
            (self.scratch / entry.name).symlink_to(entry.resolve())

    def as_original(self, result: ReadResult, taken: dict[Path, list[int]]) -> ReadResult:
        if self.place == self.annotations:
            return result

        def place(source: str, row: int) -> tuple[str, int]:
            file = self.original(Path(source))
            return str(file), _number(row, taken.get(file, ()), is_list=_is_list(file))

        examples: list[CaptionExample] = []
        for example in result.examples:
            source, row = place(example.source, example.row)
            examples.append(replace(example, source=source, row=row))
        dropped = []
        for gone in result.dropped:
            source, row = place(gone.source, gone.row)
            dropped.append(gone._replace(source=source, row=row))
        return ReadResult(examples, dropped, result.split_id)


def _number(row: int, taken: Sequence[int], *, is_list: bool) -> int:
    """The number of a row in the file, from its number in the copy: of JSON Lines a blank line is left behind."""
    if is_list:
        for gone in sorted(taken):
            row += gone <= row
    return row


def _is_list(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as stream:
        return stream.read(64).removeprefix(UTF8_BOM).lstrip()[:1] == b"["


def _can_be_taken(file: Path) -> bool:
    if not file.is_file():
        return False
    if _is_list(file):
        return True
    with file.open("rb") as stream:
        return any(_is_object(line.removeprefix(UTF8_BOM)) for line in islice(stream, HEAD))


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return False


def _without(file: Path, rows: Sequence[int]) -> bytes:
    gone = {row - 1 for row in rows}
    if _is_list(file):
        return encode_json([record for place, record in enumerate(read_json(file)) if place not in gone])
    lines = file.read_bytes().split(b"\n")
    return b"\n".join(b"" if place in gone else line for place, line in enumerate(lines))
