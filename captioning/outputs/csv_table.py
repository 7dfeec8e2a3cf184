"""A CSV table, a caption a row."""

from __future__ import annotations

import csv
import io
from typing import Any

from captioning.outputs.target import Lines, Target
from captioning.wanted import Answer, WantedPicture
from utils.io import encode_json

COLUMNS = ("image", "style", "caption", "log_prob", "cut", "error")


class CsvTable:
    """Rows as they come: ``COLUMNS``, and before the caption what goes with any of the requests."""

    def __init__(self, target: Target) -> None:
        about = dict.fromkeys(key for wanted in target.pictures for request in wanted.requests for key in request.about)
        self._columns = (*COLUMNS[:2], *about, *COLUMNS[2:])
        self._lines = Lines(target)
        self._write([dict(zip(self._columns, self._columns, strict=True))])

    def has(self, picture: WantedPicture, style: str) -> bool:
        """Never: it begins anew."""
        return False

    def add(self, answer: Answer) -> None:
        """Write its captions, or its error."""
        name = answer.picture.name
        if answer.error:
            self._write([{"image": name, "error": answer.error}])
            return
        self._write(
            [
                {"image": name, "style": request.style, **{key: _cell(value) for key, value in request.about.items()}}
                | {"caption": caption.text, "log_prob": round(caption.log_prob, 4), "cut": int(caption.cut)}
                for request in answer.picture.requests
                for caption in answer.captions[request.style or ""]
            ]
        )

    def close(self) -> None:
        """Close the file."""
        self._lines.close()

    def _write(self, rows: list[dict[str, Any]]) -> None:
        text = io.StringIO()
        table = [{key: _in_a_row(value) for key, value in row.items()} for row in rows]
        csv.DictWriter(text, self._columns, lineterminator="\n").writerows(table)
        self._lines.write(text.getvalue())


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else encode_json(value).decode()


def _in_a_row(value: Any) -> Any:
    # Python 3.11 writes a carriage return without quotes, and readers take it for the end of the row.
    return value.replace("\r", " ") if isinstance(value, str) else value
