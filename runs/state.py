"""What a run folder says of its run, without opening a model: how far it is, whether it lives, what it reached."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runs.checkpoints import ENDLESS, best_first, whole_checkpoints
from runs.ending import FAILED, PAUSED
from runs.files import Record, read_object, read_record
from runs.folder import Run
from runs.lock import is_locked, read_holder
from utils.trees import find_at, get_number

MARKS = ("config.json", "command.txt", "environment.json", "metrics.jsonl", "checkpoints", "source")
"""A folder that has two of these is a run's; a model folder has the first alone."""
MAX_DEPTH = 4
"""Folders below one that is looked through; runs of a sweep lie three deep."""
STATES = {
    "running": "its processes live",
    "new": "nothing is trained yet",
    "paused": "the same command without --pause_after goes on",
    "stopped": "it was stopped or killed; the same command goes on from its newest checkpoint",
    "failed": "training ended with an error, or before there was a checkpoint",
    "trained": "it has its model and no evaluation; the same command evaluates it",
    "finished": "trained and evaluated",
    "damaged": "a file of the record is missing or cannot be read",
}


@dataclass(frozen=True)
class Best:
    """The best validation so far."""

    metric: str
    """Its name in ``metrics.jsonl``."""
    value: float
    step: int | None


@dataclass(frozen=True)
class Score:
    """CIDEr of an evaluation."""

    cider: float | None
    interval: tuple[float, float] | None
    n: int
    """Examples."""


@dataclass(frozen=True)
class RunState:
    """How a run stands."""

    folder: str
    state: str
    """One of ``STATES``."""
    reason: str
    """Why it failed or stopped, as far as it could say."""
    step: int
    max_steps: int | None
    epoch: float
    best: Best | None
    started: str | None
    """Time of the first start, ISO 8601."""
    last_sign: float | None
    """When something was last written, seconds since 1970."""
    styles: list[str]
    scores: dict[str, Score]
    """By split."""
    size: int
    """Bytes on the disk."""
    holder: Mapping[str, Any] | None
    """Process, host and start of those that run it."""
    faults: list[str]


def find_runs(folder: Path) -> list[Run]:
    """The run folders at or below a folder, by name.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If it cannot be read.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; name a run folder, or one that holds some")
    try:
        return sorted(map(Run, _run_folders(folder, 0)), key=lambda run: run.root)
    except OSError as error:
        raise ValueError(f"{folder}: cannot be read ({error.strerror})") from error


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, whole or damaged."""
    return sum((folder / name).exists() for name in MARKS) >= 2


def describe_state(run: Run, record: Record | None = None) -> RunState:
    """How a run stands, from its folder alone; whatever is in it, this does not fail.

    Args:
        run: Its folder.
        record: What its files say, if they have been read already.
    """
    held = is_locked(run)
    record = read_record(run, in_use=held) if record is None else record
    rows = record.metrics.rows
    step, epoch = (rows[-1].step, rows[-1].epoch) if rows else (0, 0.0)
    state, reason = _state(run, record, held)
    return RunState(
        folder=str(run.root),
        state=state,
        reason=reason,
        step=step,
        max_steps=_max_steps(run, record, step, epoch),
        epoch=epoch,
        best=_best(run, record),
        started=record.starts[0].time if record.starts else None,
        last_sign=_last_sign(run),
        styles=_styles(run, record),
        scores={split: _score(results) for split, results in record.evaluations.items()},
        size=size_of(run.root),
        holder=read_holder(run) if held else None,
        faults=record.faults,
    )


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; a link counts as itself."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return total


def _run_folders(folder: Path, depth: int) -> Iterator[Path]:
    if is_run(folder):
        yield folder
    elif depth < MAX_DEPTH:
        with os.scandir(folder) as entries:
            below = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        for name in below:
            try:
                yield from _run_folders(folder / name, depth + 1)
            except PermissionError:
                continue


def _state(run: Run, record: Record, held: bool) -> tuple[str, str]:
    how = str(record.ending.get("how", ""))
    reason = str(record.ending.get("reason", ""))
    if held:
        return "running", ""
    if record.faults:
        return "damaged", ""
    if run.output.is_dir():
        return ("finished" if record.evaluations else "trained"), ""
    if how in (FAILED, PAUSED):
        return how, reason
    if run.numbered_checkpoints():
        return "stopped", reason
    if record.metrics.rows or run.log.exists():
        return "failed", reason or "killed before the first checkpoint"
    return "new", ""


def _max_steps(run: Run, record: Record, step: int, epoch: float) -> int | None:
    for checkpoint in whole_checkpoints(run):
        return checkpoint.max_steps if checkpoint.max_steps < ENDLESS else None
    epochs = get_number(record.config, "train.epochs")
    return round(step / epoch * epochs) if epochs and epoch > 0 else None


def _best(run: Run, record: Record) -> Best | None:
    """By the number that checkpoints are chosen by; where ``metrics.jsonl`` is lost, as a checkpoint tells it."""
    select = find_at(record.config, "checkpoint.select")
    metric = f"val/{select}" if isinstance(select, str) else "val/loss"
    sign = -1 if metric in ("val/loss", "val/nll") else 1
    rows = [(row.numbers.get(metric), row.step) for row in record.metrics.rows]
    found = [(sign * value, -step) for value, step in rows if value is not None]
    if found:
        value, step = max(found)
        return Best(metric, sign * value, -step)
    told = best_first([*whole_checkpoints(run)], greater_is_better=sign > 0)
    return Best(metric, told[0].score or 0.0, told[0].step) if told else None


def _last_sign(run: Run) -> float | None:
    checkpoints = [folder for _, folder in run.numbered_checkpoints()]
    files = (run.log, run.metrics, run.samples, run.commands, run.report, run.output, run.checkpoints, *checkpoints)
    times = []
    for path in files:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)


def _styles(run: Run, record: Record) -> list[str]:
    """Those that were evaluated, else what the model knows, else what was asked for."""
    for results in record.evaluations.values():
        if results["per_style"]:
            return sorted(results["per_style"])
    try:
        trained = find_at(read_object(run.output / "configuration.json"), "model.trained_styles")
    except (ValueError, OSError):
        trained = None
    named = trained if trained is not None else find_at(record.config, "data.styles")
    return [str(style) for style in named] if isinstance(named, list) else []


def _score(results: Mapping[str, Any]) -> Score:
    ends = find_at(results, "confidence.overall.CIDEr")
    interval = (float(ends[0]), float(ends[1])) if isinstance(ends, list) else None
    return Score(get_number(results, "overall.CIDEr"), interval, int(results["n"]))
