"""JSON-like trees: what stands at a dotted place, and all places of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def find_at(tree: Any, place: str) -> Any:
    """What stands at a dotted place, such as ``overall.CIDEr``; None if nothing does, whatever the tree is."""
    found = tree
    for part in place.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def get_number(tree: Any, place: str) -> float | None:
    """A number by its dotted place; None if there is none, or it is null."""
    value = find_at(tree, place)
    return float(value) if is_number(value) else None


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted place and value of everything that is no group; an empty group has no place."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
