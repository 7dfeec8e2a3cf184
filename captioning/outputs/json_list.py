"""One JSON list, a row a line."""

from __future__ import annotations

from typing import Any

from captioning.outputs.target import Target, refuse_existing, rows_of
from captioning.wanted import Answer, WantedPicture
from utils.console import json_line
from utils.io import encode_json, write_bytes


class JsonList:
    """All rows as a list, written in the end with what came until then."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._rows: list[dict[str, Any]] = []
        if target.out is not None:
            refuse_existing(target.out, target)

    def has(self, picture: WantedPicture, style: str) -> bool:
        """Never: it begins anew."""
        return False

    def add(self, answer: Answer) -> None:
        """Keep its rows."""
        self._rows += rows_of(answer)

    def close(self) -> None:
        """Write the list."""
        if self._target.out is not None:
            rows = b",\n".join(encode_json(row) for row in self._rows)
            write_bytes(self._target.out, b"[\n" + rows + b"\n]\n")
        else:
            self._target.stream.write("[\n" + ",\n".join(json_line(row) for row in self._rows) + "\n]\n")
            self._target.stream.flush()
