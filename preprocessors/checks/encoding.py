"""Lines of annotation files that are not UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from preprocessors.checks.findings import Case

BINARY = frozenset({".tar", ".parquet", ".arrow"})
"""Endings of annotation files that are no text."""


def bad_lines(files: Iterable[Path]) -> Iterator[Case]:
    """Every line that is not UTF-8, as it reads in Latin-1; files that are not there or no text are passed over."""
    for file in files:
        if file.suffix.lower() in BINARY or not file.is_file():
            continue
        with file.open("rb") as lines:  # one by one: with pictures in base64 they are longer than memory
            for number, line in enumerate(lines, start=1):
                try:
                    line.decode()
                except UnicodeDecodeError:
                    yield Case(f"{file}, line {number}", line.removesuffix(b"\n").decode("latin-1"))
