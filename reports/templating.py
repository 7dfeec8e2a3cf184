"""HTML pages from templates."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

HUES = (32, 345, 212, 150, 268, 186, 90, 310, 8, 238)
"""Hues (degrees) of the style tags, in the order in which styles appear; they start again after the last."""


def hues_of(styles: Iterable[str]) -> dict[str, int]:
    """The hue of each style's tag."""
    return {style: HUES[number % len(HUES)] for number, style in enumerate(dict.fromkeys(styles))}


def open_templates(*folders: Path) -> Environment:
    """The templates of some folders: values are escaped, one that is missing is an error, tags leave no blank lines."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
