"""Descriptions that come with other people's files: read only if small and shallow, then held against a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from utils.io import read_json, shorten_json

DESCRIPTION_BYTES = 8_000_000
"""Most of a description: 50 times the longest that is published, a vision network's with its 21,841 class names."""
MAX_DEPTH = 16
"""Most objects and lists inside one another: twice what anything published has; a library that copies a description
calls itself once for each."""
REMEDY = "Correct it, or copy the file again from where the model came from."


def read_small_json(path: Path, most_bytes: int = DESCRIPTION_BYTES) -> dict[str, Any]:
    """The object in a JSON file; its size is looked at before it is read.

    Args:
        path: The file.
        most_bytes: That it may have.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is too large, no JSON, no object, or nested too deep.
    """
    if path.is_file() and (size := path.stat().st_size) > most_bytes:
        raise ValueError(f"{path}: has {size:,} bytes, and at most {most_bytes:,} are read. {REMEDY}")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must be an object {{...}}, not {shorten_json(content)}. {REMEDY}")
    if _is_deeper(content, MAX_DEPTH):
        raise ValueError(f"{path}: is nested more than {MAX_DEPTH} deep. {REMEDY}")
    return cast(dict[str, Any], content)


def check_against(table: TypeAdapter[Any], content: Any, path: Path, below: str = "") -> dict[str, Any]:
    """What a table knows of a description, its types and ranges checked; the rest is left out.

    Args:
        table: Of a ``TypedDict``.
        content: Read from a file.
        path: The file, for messages.
        below: Key that ``content`` stands under, for messages.

    Raises:
        ValueError: Naming file, key, value and what is allowed, of the first five faults.
    """
    try:
        return cast(dict[str, Any], table.validate_python(content))
    except ValidationError as error:
        faults = error.errors(include_url=False)
    told = "; ".join(_describe(fault, below) for fault in faults[:5])
    rest = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    raise ValueError(f"{path}: {told}{rest}. {REMEDY}")


def _describe(fault: ErrorDetails, below: str) -> str:
    key = ".".join(map(str, ([below] if below else []) + [*fault["loc"]])) or "the file"
    if fault["type"] == "missing":
        return f"{key} is missing"
    message = fault["msg"].replace("Input should", "must", 1)
    return f"{key}={_shorten(fault['input'])}: {message}"


def _shorten(value: Any) -> str:
    try:
        return shorten_json(value, 60)
    except TypeError:  # what no JSON file holds, such as NaN that a library made
        return repr(value)[:60]


def _is_deeper(content: Any, depth: int) -> bool:
    level = [content]
    for _ in range(depth):
        inner = [value for item in level for value in (item.values() if isinstance(item, dict) else item)]
        level = [value for value in inner if isinstance(value, dict | list)]
    return bool(level)
