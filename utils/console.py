"""Standard output of a console that may not be UTF-8."""

from __future__ import annotations

import io
import json
import sys
from typing import Any

from utils.io import encode_json


def escape_what_cannot_be_shown() -> None:
    r"""From now on print characters that the console's encoding lacks as ``\U0001f600``, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def json_line(obj: Any) -> str:
    """JSON in one line that standard output can show: what its encoding lacks is escaped as JSON does it."""
    text = encode_json(obj).decode()
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), separators=(",", ":"))
    return text
