"""Lines of annotation files that are not UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from preprocessors.checks.findings import Case


def bad_lines(files: Iterable[Path]) -> Iterator[Case]:
    """Every line that is not UTF-8, as it reads in Latin-1; files that are not there are passed over."""
    for file in files:
        if not file.is_file():
            continue
        data = file.read_bytes()
        try:
            data.decode()
        except UnicodeDecodeError:
            for number, line in enumerate(data.split(b"\n"), start=1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    yield Case(f"{file}, line {number}", line.decode("latin-1"))
