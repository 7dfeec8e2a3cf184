"""Reads and changes JSON files in shell scripts.

    python -m utils.json_tool get work_dir/demo/eval/val.json overall.CIDEr      prints 3.15
    python -m utils.json_tool get leaderboard.json configurations.0.settings     prints an object
    python -m utils.json_tool set my.json train.lr 2e-5                          changes or adds it

A place is made of keys and positions in lists, with dots between. Strings are printed as they are, all else as JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from utils.io import encode_json, parse_value, read_json, write_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit code: 0, or 2 for a fault of the input.
    """
    parser = argparse.ArgumentParser(
        prog="python -m utils.json_tool", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (("get", "print what stands at a place"), ("set", "change what stands at a place, or add it")):
        command = commands.add_parser(name, help=text)
        command.add_argument("file", metavar="FILE")
        command.add_argument("place", metavar="PLACE")
    commands.choices["set"].add_argument("value", metavar="VALUE", help="JSON; a string if it is none")
    options = parser.parse_args(arguments)
    try:
        if options.command == "get":
            found = get_at(read_json(options.file), options.place, options.file)
            print(found if isinstance(found, str) else encode_json(found).decode())
        else:
            document = read_json(options.file)
            set_at(document, options.place, parse_value(options.value), options.file)
            write_json(options.file, document)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def get_at(document: Any, place: str, file: str = "JSON") -> Any:
    """What stands at a place.

    Args:
        document: JSON-like.
        place: Keys and list positions with dots between; a key may hold dots itself.
        file: Its name, for messages.

    Raises:
        ValueError: If nothing stands there; names the nearest key.
    """
    found = document
    parts = place.split(".")
    while parts:
        used = _key_length(found, parts)
        if used == 0:
            raise ValueError(f"{file}: {place}: there is no {parts[0]!r}{_describe(found, parts[0])}")
        key = ".".join(parts[:used])
        found = found[key] if isinstance(found, dict) else found[int(key)]
        parts = parts[used:]
    return found


def set_at(document: Any, place: str, value: Any, file: str = "JSON") -> None:
    """Changes what stands at a place of ``document``, or adds a key; objects on the way are made.

    Raises:
        ValueError: If the place leads through something that has no keys.
    """
    holder, parts = document, place.split(".")
    while len(parts) > 1:
        used = _key_length(holder, parts)
        if used == len(parts):
            break
        if used == 0 and isinstance(holder, dict):
            holder[parts[0]], used = {}, 1
        elif used == 0:
            raise ValueError(f"{file}: {place}: there is no {parts[0]!r}{_describe(holder, parts[0])}")
        key = ".".join(parts[:used])
        holder, parts = holder[key] if isinstance(holder, dict) else holder[int(key)], parts[used:]
    last = ".".join(parts)
    if isinstance(holder, dict):
        holder[last] = value
    elif _key_length(holder, parts):
        holder[int(last)] = value
    else:
        raise ValueError(f"{file}: {place}: there is no {last!r}{_describe(holder, last)}")


def _key_length(holder: Any, parts: Sequence[str]) -> int:
    """How many parts make a key of ``holder``, the fewest; 0 if none do."""
    if isinstance(holder, list):
        return int(parts[0].isdecimal() and int(parts[0]) < len(holder))
    if not isinstance(holder, dict):
        return 0
    return next((count for count in range(1, len(parts) + 1) if ".".join(parts[:count]) in holder), 0)


def _describe(holder: Any, key: str) -> str:
    if isinstance(holder, list):
        return f"; a list of {len(holder)} is there, counted from 0"
    if not isinstance(holder, dict):
        return f"; {encode_json(holder).decode()[:40]} is there, which has no keys"
    nearest = get_close_matches(key, holder, n=1)
    known = ", ".join(list(holder)[:8]) + (", ..." if len(holder) > 8 else "")
    return f"; did you mean {nearest[0]}?" if nearest else f"; known: {known or 'nothing'}"


if __name__ == "__main__":
    sys.exit(main())
