"""JSON Lines: a row as soon as its picture is captioned, so that a run that was stopped goes on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captioning.outputs.target import WRITTEN, Target, refuse_existing, rows_of
from captioning.wanted import Answer, WantedPicture
from utils.console import json_line
from utils.io import append_jsonl, encode_json, parse_line, read_lines, write_bytes

logger = logging.getLogger(__name__)

Known = dict[tuple[str, str], tuple[bytes, ...]]
"""By picture and style, what goes with each of its rows."""


class JsonLines:
    """Rows line by line; what is in the file already is not asked for again."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: Known = {}
        if target.out is None:
            return
        if target.skip_existing and target.out.exists():
            self._known = repair(target.out)
        else:
            refuse_existing(target.out, target, resumes=True)
            write_bytes(target.out, b"")

    def has(self, picture: WantedPicture, style: str) -> bool:
        """Whether the file has all its rows in that style: one for each reference."""
        wanted = sum(request.style == style for request in picture.requests)
        return len(self._known.get((picture.name, style), ())) >= wanted

    def add(self, answer: Answer) -> None:
        """Write its rows, but those that are there already."""
        for row in rows_of(answer):
            if _about(row) in self._known.get((row["image"], row.get("style", "")), ()):
                continue
            if self._target.out is not None:
                append_jsonl(self._target.out, row)
            else:
                self._target.stream.write(json_line(row) + "\n")
        if self._target.out is None:
            self._target.stream.flush()

    def close(self) -> None:
        """Nothing is left to be written."""


def repair(path: Path) -> Known:
    """What of captions is in a file, from which half a last line and rows of errors are taken out.

    Rows of errors go because their pictures are tried again.

    Raises:
        FileNotFoundError: If it is a folder.
        ValueError: If a line before the last is not JSON, or a row is none of captions; names the line.
    """
    known: Known = {}
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
        if not _is_captioned(row):
            raise ValueError(f"{path}, line {number}: is no row of captions; name another file with --out")
        key, about = (row["image"], row["style"]), _about(row)
        if about not in known.get(key, ()):
            known[key] = (*known.get(key, ()), about)
        kept.append(line + b"\n")
    if len(kept) < len(lines):
        write_bytes(path, b"".join(kept))
    return known


def _is_captioned(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and all(isinstance(row.get(key), str) for key in ("image", "style"))
        and isinstance(row.get("captions"), list)  # a list of what is to be captioned has none
    )


def _about(row: Mapping[str, Any]) -> bytes:
    return encode_json({key: value for key, value in row.items() if key not in WRITTEN})
