"""The formats of annotations: one file and one entry each. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

from preprocessors.formats import (
    coco,
    csv_table,
    drawn_scenes,
    flickr30k,
    flickrstyle,
    flickrstyle_release,
    hf_datasets,
    image_folder,
    json_rows,
    jsonl,
    karpathy,
    lavis,
    nocaps,
    ofa_tsv,
    personality_captions,
    senticap,
    textcaps,
    webdataset,
)
from preprocessors.formats.rows import Format
from utils.plugins import describe_kind, is_plugin, load_plugin

FORMATS: Mapping[str, Format] = {
    "flickrstyle": flickrstyle.FORMAT,
    "flickrstyle_release": flickrstyle_release.FORMAT,
    "personality_captions": personality_captions.FORMAT,
    "senticap": senticap.FORMAT,
    "karpathy": karpathy.FORMAT,
    "nocaps": nocaps.FORMAT,
    "coco": coco.FORMAT,
    "textcaps": textcaps.FORMAT,
    "flickr30k": flickr30k.FORMAT,
    "lavis": lavis.FORMAT,
    "jsonl": jsonl.FORMAT,
    "json": json_rows.FORMAT,
    "csv": csv_table.FORMAT,
    "image_folder": image_folder.FORMAT,
    "ofa_tsv": ofa_tsv.FORMAT,
    "webdataset": webdataset.FORMAT,
    "hf_datasets": hf_datasets.FORMAT,
    "drawn_scenes": drawn_scenes.FORMAT,
}
"""By the name in ``data.format``. Of two that recognise a file, the first one names it."""
HASH_SPLIT = "hash"
"""How any single file can be divided, see :func:`preprocessors.readers.hash_split`."""

HELD_OUT_SPLIT = "held_out"
"""How a file whose rows carry a split without a test set is divided to choose on, see
:func:`preprocessors.readers.held_out_split`."""


def format_of(name: str) -> Format:
    """A format of the table, or a user's own as ``package.module:NAME``.

    Raises:
        ValueError: If it is not there, or no :class:`preprocessors.formats.rows.Format`.
    """
    if not is_plugin(name):
        return FORMATS[name]
    found = load_plugin(name)
    if not isinstance(found, Format):
        raise ValueError(f"{name}: is {describe_kind(found)}; name a preprocessors.formats.rows.Format")
    return found


def formats_with(setting: str) -> list[str]:
    """Names of the formats that use a setting which others do not."""
    return [name for name, form in FORMATS.items() if setting in form.settings]


def own_splits() -> dict[str, list[str]]:
    """Names of the splits that rows carry, each with the formats whose rows do."""
    splits: dict[str, list[str]] = {}
    for name, form in FORMATS.items():
        if form.own_split is not None:
            splits.setdefault(form.own_split, []).append(name)
    return splits
