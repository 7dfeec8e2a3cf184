"""``metrics.jsonl`` of a run: numbers against optimizer steps, written in one place and read in one place."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from utils.io import UTF8_BOM, append_jsonl, write_bytes
from utils.trees import is_number

logger = logging.getLogger(__name__)

EPOCH_DIGITS = 4
"""Decimals of the epochs."""


class MetricsRow(NamedTuple):
    """The numbers of one optimizer step."""

    step: int
    epoch: float
    numbers: dict[str, float | None]
    """By name, ``train/...`` and ``val/...``; None for what was no number."""


class MetricsLog(NamedTuple):
    """What a file holds."""

    rows: list[MetricsRow]
    """By step."""
    damaged: int
    """Lines that could not be read, such as one that a killed run left unfinished."""


def has_reached(epoch: float, wanted: float) -> bool:
    """Whether a run that stands at ``epoch`` has trained ``wanted`` epochs, up to the four decimals that are logged."""
    return epoch >= wanted - 10.0**-EPOCH_DIGITS


def append_metrics(file: Path, global_step: int, epoch: float, numbers: Mapping[str, float]) -> None:
    """Add the numbers of a step; the file and its folder are made where they are not there."""
    append_jsonl(file, {"global_step": global_step, "epoch": round(epoch, EPOCH_DIGITS)} | dict(numbers))


def cut_after(file: Path, step: int, *, awaits_validation: bool = False) -> int:
    """Take out of a JSON Lines file of a run what was written after a checkpoint, since that is trained again.

    Lines that cannot be read are taken out as well.

    Args:
        file: Rows with ``global_step``; may be missing.
        step: Of the checkpoint; 0 for the beginning.
        awaits_validation: The validation of ``step`` itself is to be made again: its ``val/...`` numbers go, and rows
            without any number of training.

    Returns:
        Rows that were taken out.
    """
    try:
        lines = file.read_bytes().removeprefix(UTF8_BOM).split(b"\n")
    except FileNotFoundError:
        return 0
    rows = [line for line in lines if line.strip()]
    kept = [line for line in rows if _stays(line, step, awaits_validation)]
    if len(kept) < len(rows):
        write_bytes(file, b"".join(line + b"\n" for line in kept))
    return len(rows) - len(kept)


def _stays(line: bytes, step: int, awaits_validation: bool) -> bool:
    try:
        row = orjson.loads(line)
        at = row["global_step"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return False
    if not isinstance(at, int) or at > step or step == 0:
        return False
    return not (awaits_validation and at == step) or any(name.startswith("train/") for name in row)


def read_metrics(file: Path) -> MetricsLog:
    """Read all steps; one that stands there twice, because it was trained again, has its newest numbers.

    Lines that cannot be read are passed over: somebody may be writing the last one. No file is one without rows.
    """
    try:
        lines = file.read_bytes().removeprefix(UTF8_BOM).split(b"\n")
    except OSError:
        return MetricsLog([], 0)
    found: dict[int, dict[str, Any]] = {}
    damaged = 0
    for line in filter(bytes.strip, lines):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            row = None
        if _is_row(row):
            step = row.pop("global_step")
            found[step] = found.get(step, {}) | row
        else:
            damaged += 1
    rows = [MetricsRow(step, numbers.pop("epoch", 0.0), numbers) for step, numbers in sorted(found.items())]
    return MetricsLog(rows, damaged)


def _is_row(row: Any) -> bool:
    """Whether a line is as :func:`append_metrics` writes it: nothing but numbers, of a step."""
    if not isinstance(row, dict) or not is_number(row.get("epoch", 0.0)):
        return False
    step = row.get("global_step")
    return isinstance(step, int) and is_number(step) and all(is_number(row[k]) or row[k] is None for k in row)


class Curves(NamedTuple):
    """Points (optimizer step, value) by name."""

    losses: dict[str, list[tuple[int, float]]]
    """Of ``train`` and ``val``, nats per token; maybe without points."""
    training: dict[str, list[tuple[int, float]]]
    """What else was logged in training, by its name there."""


def read_curves(file: Path) -> dict[str, list[tuple[int, float]]]:
    """Points (step, value) by name, such as ``train/loss``; what was no number is left out.

    A report must not fail over a damaged line: the log says how many there are.
    """
    log = read_metrics(file)
    if log.damaged:
        logger.warning("%s: %d lines could not be read; the curves lack their points", file, log.damaged)
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in log.rows:
        for name, value in row.numbers.items():
            if "/" in name and value is not None:
                curves.setdefault(name, []).append((row.step, value))
    return curves


def curves_of_training(file: Path) -> Curves:
    """The curves of a run as reports draw them."""
    curves = read_curves(file)
    return Curves(
        {name: curves.get(f"{name}/loss", []) for name in ("train", "val")},
        {name.removeprefix("train/"): points for name, points in curves.items() if name.startswith("train/")},
    )
