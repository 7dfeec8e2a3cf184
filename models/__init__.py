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
    "blip": "models.hf.blip:BlipCaptioner",
    "florence2": "models.hf.florence2:Florence2Captioner",
    "smolvlm": "models.hf.smolvlm:SmolVLMCaptioner",
    "idefics3": "models.hf.smolvlm:Idefics3Captioner",
}
"""By ``model_type`` of ``config.json`` the class that opens such a folder; imported when one is opened."""
LEFT_OUT: Mapping[str, str] = {
    "git": "it encodes a picture anew for each of its captions",
    "blip-2": "its language models are larger than what is trained here",
    "pix2struct": "it reads documents and writes no captions of photos",
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl"), "its processor needs torchvision"),
}
"""By ``model_type`` why a family that captions cannot be opened."""
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
        why = f" ({LEFT_OUT[kind]})" if isinstance(kind, str) and kind in LEFT_OUT else ""
        raise ValueError(
            f"{folder}: config.json is of a {repr(kind)[:80]} model{why}; captioners that can be opened: {known}. "
            "docs/models.md compares them, CONTRIBUTING.md says how to add one"
        )
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
