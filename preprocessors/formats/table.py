"""The formats of annotations: one file and one entry each. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from preprocessors.formats import drawn_scenes, flickrstyle, flickrstyle_release, jsonl, personality_captions
from preprocessors.formats.rows import Format

FORMATS: Mapping[str, Format] = {
    "flickrstyle": flickrstyle.FORMAT,
    "flickrstyle_release": flickrstyle_release.FORMAT,
    "personality_captions": personality_captions.FORMAT,
    "jsonl": jsonl.FORMAT,
    "drawn_scenes": drawn_scenes.FORMAT,
}
"""By the name in ``data.format``."""
HASH_SPLIT = "hash"
"""How any single file can be divided, see :func:`preprocessors.readers.hash_split`."""


def formats_with(setting: str) -> list[str]:
    """Names of the formats that use a setting which others do not."""
    return [name for name, form in FORMATS.items() if setting in form.settings]


def formats_with_own_split() -> list[str]:
    """Names of the formats whose rows carry a split."""
    return [name for name, form in FORMATS.items() if form.own_split is not None]


def split_names() -> list[str]:
    """How files can be divided: the splits that rows carry, and by hash."""
    own = dict.fromkeys(form.own_split for form in FORMATS.values() if form.own_split is not None)
    return [*own, HASH_SPLIT]
