"""Standard output of a console that may not be UTF-8."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any

from utils.io import encode_json


def escape_what_cannot_be_shown() -> None:
    r"""From now on print characters that the console's encoding lacks as ``\U0001f600``, as standard error does."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def give_up_output() -> None:
    """Nobody reads standard output any more, as after ``| head``: what is left in its buffer goes nowhere.

    Otherwise Python would complain of it once more when it ends.
    """
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def json_line(obj: Any) -> str:
    """JSON in one line that standard output can show: what its encoding lacks is escaped as JSON does it."""
    text = encode_json(obj).decode()
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(json.loads(text), separators=(",", ":"))
    return text
