"""HTML pages from templates."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def open_templates(*folders: Path) -> Environment:
    """The templates of some folders: values are escaped, one that is missing is an error, tags leave no blank lines."""
    return Environment(
        loader=FileSystemLoader(folders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
