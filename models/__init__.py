"""Captioners behind one interface (``captioner.py``) and the one table that opens them.

Imported by captioning and everything above; what is inside a captioner's folder is imported by that folder alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, cast

from utils.plugins import is_plugin, load_class
from utils.small_json import read_small_json

if TYPE_CHECKING:
    from models.captioner import Captioner, NewModel

CAPTIONERS: Mapping[str, str] = {
    "ofa": "models.ofa.captioner:OFACaptioner",
    "blip": "models.hf.blip:BlipCaptioner",
    "florence2": "models.hf.florence2:Florence2Captioner",
    "smolvlm": "models.hf.smolvlm:SmolVLMCaptioner",
    "idefics3": "models.hf.smolvlm:Idefics3Captioner",
    "paligemma": "models.hf.paligemma:PaliGemmaCaptioner",
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


def open_captioner(folder: Path, kind: str | None = None) -> Captioner:
    """Open a model folder, whatever captioner it holds.

    Args:
        folder: The folder.
        kind: As for :func:`captioner_class`; None = what the folder says, which can only be one of ``CAPTIONERS``.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If no captioner of that kind is known, or files are damaged or do not fit one another.
        NoNumbers: If a weight is NaN or infinite.
    """
    from models.adapters import refuse_adapters_alone  # here, since this table loads nothing heavy
    from models.weights import check_finite

    refuse_adapters_alone(folder)
    captioner = captioner_class(_kind_of(folder) if kind is None else kind).open(folder)
    check_finite(captioner.module, folder)
    return captioner


def _kind_of(folder: Path) -> str:
    try:
        described = read_small_json(folder / "config.json")
    except (ValueError, OSError):
        return DEFAULT_KIND  # which says of the folder what is missing or damaged
    kind = described.get("model_type", DEFAULT_KIND)
    # A folder comes from anybody: it chooses from the table, and never names code.
    if not isinstance(kind, str) or kind not in CAPTIONERS:
        known = ", ".join(CAPTIONERS)
        why = f" ({LEFT_OUT[kind]})" if isinstance(kind, str) and kind in LEFT_OUT else ""
        raise ValueError(
            f"{folder}: config.json is of a {repr(kind)[:80]} model{why}; captioners that can be opened: {known}. "
            "docs/models.md compares them, CONTRIBUTING.md says how to add one; your own: model.kind, or --kind"
        )
    return kind


def captioner_class(kind: str) -> type[Captioner]:
    """The class of a kind of captioner.

    Args:
        kind: One of ``CAPTIONERS``, or a user's own class as ``package.module:Class``.

    Raises:
        ValueError: If there is none, or it lacks what a captioner has.
    """
    if is_plugin(kind):
        from models.captioner import Captioner

        return cast("type[Captioner]", load_class(kind, Captioner))
    if kind not in CAPTIONERS:
        raise ValueError(f"{kind}: unknown kind of captioner; known: {', '.join(CAPTIONERS)}, or package.module:Class")
    return cast("type[Captioner]", resolve_name(CAPTIONERS[kind]))


def new_captioner(wanted: NewModel, kind: str | None = None) -> Captioner:
    """A captioner with random weights, of a kind as for :func:`captioner_class`; None = of ``DEFAULT_KIND``.

    Raises:
        ValueError: If it cannot be made so.
    """
    return captioner_class(kind or DEFAULT_KIND).new(wanted)
