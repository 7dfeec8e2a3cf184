"""JSON Lines: a row as soon as its picture is captioned, so that a run that was stopped goes on."""

from __future__ import annotations

import logging
from pathlib import Path

from captioning.outputs.target import Target, refuse_existing, rows_of
from captioning.wanted import Answer, WantedPicture
from utils.console import json_line
from utils.io import append_jsonl, parse_line, read_lines, write_bytes

logger = logging.getLogger(__name__)


class JsonLines:
    """Rows line by line; what is in the file already is not asked for again."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: set[tuple[str, str]] = set()
        if target.out is None:
            return
        if target.skip_existing and target.out.exists():
            self._known = repair(target.out)
        else:
            refuse_existing(target.out, target, resumes=True)
            write_bytes(target.out, b"")

    def has(self, picture: WantedPicture, style: str) -> bool:
        """Whether the file has its row."""
        return (picture.name, style) in self._known

    def add(self, answer: Answer) -> None:
        """Write its rows."""
        for row in rows_of(answer):
            if self._target.out is not None:
                append_jsonl(self._target.out, row)
            else:
                self._target.stream.write(json_line(row) + "\n")
        if self._target.out is None:
            self._target.stream.flush()

    def close(self) -> None:
        """Nothing is left to be written."""


def repair(path: Path) -> set[tuple[str, str]]:
    """Picture and style of the captions in a file, from which half a last line and rows of errors are taken out.

    Rows of errors go because their pictures are tried again.

    Raises:
        FileNotFoundError: If it is a folder.
        ValueError: If a line before the last is not JSON, or a row is none of captions; names the line.
    """
    known: set[tuple[str, str]] = set()
    kept, lines = [], [*read_lines(path)]
    for number, line in lines:
        try:
            row = parse_line(line, path, number)
        except ValueError:
            if number < lines[-1][0]:
                raise
            logger.warning("%s, line %d: is cut short; its picture is captioned again", path, number)
            continue
        if isinstance(row, dict) and "error" in row:
            continue
        if not (isinstance(row, dict) and isinstance(row.get("image"), str) and isinstance(row.get("style"), str)):
            raise ValueError(f"{path}, line {number}: is no row of captions; name another file with --out")
        known.add((row["image"], row["style"]))
        kept.append(line + b"\n")
    if len(kept) < len(lines):
        write_bytes(path, b"".join(kept))
    return known
