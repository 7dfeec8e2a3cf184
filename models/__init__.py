"""Captioners behind one interface (``captioner.py``) and the one table that opens them.

Imported by captioning and everything above; what is inside a captioner's folder is imported by that folder alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from utils.small_json import read_small_json

if TYPE_CHECKING:
    from models.captioner import Captioner, NewModel

CAPTIONERS: Mapping[str, str] = {
    "ofa": "models.ofa.captioner:OFACaptioner",
}
"""By ``model_type`` of ``config.json`` the class that opens such a folder; imported when one is opened."""
DEFAULT_KIND = "ofa"
"""Published OFA folders of ModelScope may say nothing of their kind."""


def open_captioner(folder: Path) -> Captioner:
    """Open a model folder, whatever captioner it holds.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If no captioner of that kind is known, or files are damaged or do not fit one another.
        NoNumbers: If a weight is NaN or infinite.
    """
    kind = _kind_of(folder)
    if not isinstance(kind, str) or kind not in CAPTIONERS:
        known = ", ".join(CAPTIONERS)
        raise ValueError(f"{folder}: config.json is of a {kind!r} model; captioners that can be opened: {known}")
    captioner: Captioner = resolve_name(CAPTIONERS[kind]).open(folder)
    from models.weights import check_finite  # here, since this table loads nothing heavy

    check_finite(captioner.module, folder)
    return captioner


def _kind_of(folder: Path) -> object:
    try:
        described = read_small_json(folder / "config.json")
    except (ValueError, OSError):
        return DEFAULT_KIND  # which says of the folder what is missing or damaged
    return described.get("model_type", DEFAULT_KIND)


def new_captioner(wanted: NewModel, kind: str = DEFAULT_KIND) -> Captioner:
    """A captioner with random weights.

    Raises:
        ValueError: If it cannot be made so.
    """
    captioner: Captioner = resolve_name(CAPTIONERS[kind]).new(wanted)
    return captioner
