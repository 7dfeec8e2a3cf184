"""The checkpoints of a run: which can be trusted, which to go on from, which is best, which may go. Needs no torch."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runs.folder import Run
from utils.durable import remove_folder
from utils.errors import Fault
from utils.io import read_json, write_json
from utils.manifest import MANIFEST_FILE, find_faults, read_manifest

logger = logging.getLogger(__name__)

ENDLESS = 10**9
"""Optimizer steps that no training comes to: the number of steps of one that has no end."""


def describe_step(step: int, max_steps: int) -> str:
    """Where a training stands, as in ``step 3 of 10``."""
    return f"step {step} of {max_steps}" if max_steps < ENDLESS else f"step {step}"


class Checkpoint(NamedTuple):
    """What a checkpoint says of itself in its manifest."""

    folder: Path
    step: int
    """Optimizer steps done."""
    max_steps: int
    """Optimizer steps of the whole run."""
    epoch: float
    processes: int
    """Processes that trained."""
    rows_per_step: int
    """Training rows of an optimizer step, over all processes."""
    settings: str
    """Hash of the settings that decide over the weights."""
    score: float | None
    """Number of the validation that the best is chosen by; None before the first."""
    awaits_validation: bool
    """Whether a signal came before the validation that is due at this step."""

    @property
    def is_finished(self) -> bool:
        """Whether all optimizer steps are done."""
        return self.step >= self.max_steps


class Verifier:
    """Finds what is wrong with checkpoints; what it has read and found good is not hashed again while it is unchanged.

    Files count as unchanged by size, time and inode.
    """

    def __init__(self) -> None:
        self._good: dict[Path, tuple[Any, ...]] = {}

    def faults(self, folder: Path) -> list[str]:
        """Reasons why a checkpoint cannot be used; empty if it can."""
        if not folder.is_dir():
            return ["is gone"]
        if not (folder / MANIFEST_FILE).exists():
            return [f"has no {MANIFEST_FILE}: its save was cut short, or a former version made it"]
        try:
            return self._faults(folder)
        except (ValueError, OSError) as error:
            return [str(error).removeprefix(f"{folder}/")]

    def _faults(self, folder: Path) -> list[str]:
        manifest = read_manifest(folder)
        checkpoint = _describe(folder, manifest.about)
        if checkpoint.step != _step_of(folder):
            return [f"{MANIFEST_FILE} is that of step {checkpoint.step}"]
        names = [*manifest.files, MANIFEST_FILE]
        signature = tuple(_signature(folder / name) for name in names)
        if self._good.get(folder) == signature:
            return []
        faults = find_faults(folder, manifest)
        if not faults:
            self._good[folder] = signature
        return faults


def read_checkpoint(folder: Path) -> Checkpoint:
    """What a checkpoint says of itself; its files are not looked at.

    Raises:
        FileNotFoundError: If it has no manifest: its save was cut short, or a former version made it.
        ValueError: If the manifest is damaged, or not that of a checkpoint.
    """
    return _describe(folder, read_manifest(folder).about)


def _describe(folder: Path, about: Mapping[str, Any]) -> Checkpoint:
    try:
        score = about["score"]
        return Checkpoint(
            folder,
            step=int(about["step"]),
            max_steps=int(about["max_steps"]),
            epoch=float(about["epoch"]),
            processes=int(about["processes"]),
            rows_per_step=int(about["rows_per_step"]),
            settings=str(about["settings"]),
            score=None if score is None else float(score),
            awaits_validation=bool(about["awaits_validation"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / MANIFEST_FILE}: is not that of a checkpoint ({error})") from error


def whole_checkpoints(run: Run) -> Iterator[Checkpoint]:
    """Checkpoints with a manifest, newest first; their files are not looked at."""
    for step, folder in run.numbered_checkpoints():
        try:
            checkpoint = read_checkpoint(folder)
        except (ValueError, OSError):
            continue
        if checkpoint.step == step:
            yield checkpoint


def complete_steps(run: Run) -> list[int]:
    """Optimizer steps of the checkpoints that were saved to their end, newest first."""
    return [checkpoint.step for checkpoint in whole_checkpoints(run)]


def choose_checkpoint(run: Run, verifier: Verifier) -> Checkpoint | None:
    """The newest checkpoint that can be trusted; None if the run has none at all.

    Every one that is passed over is told, with its reason.

    Raises:
        Fault: If there are checkpoints and none can be used.
    """
    passed_over = _gone(run)
    for _, folder in run.numbered_checkpoints():
        faults = verifier.faults(folder)
        if not faults:
            chosen = read_checkpoint(folder)
            _tell_choice(chosen, passed_over)
            return chosen
        passed_over.append(f"{folder.name}: {'; '.join(faults)}")
    if passed_over:
        raise Fault(
            f"{run.checkpoints}: no checkpoint can be used:\n  " + "\n  ".join(passed_over) + "\nrestore one, or give "
            "another work_dir to start again; to start again in this one, remove its checkpoints folder"
        )
    return None


def _gone(run: Run) -> list[str]:
    """The newest checkpoint, if it was removed by somebody."""
    try:
        name = str(read_json(run.last)["checkpoint"])
    except (ValueError, OSError, TypeError, KeyError):
        return []
    return [] if (run.checkpoints / name).exists() else [f"{name}: is gone"]


def _tell_choice(chosen: Checkpoint, passed_over: Sequence[str]) -> None:
    for reason in passed_over:
        logger.warning("passed over %s", reason)
    why = "the newest" if not passed_over else "the newest that can be used"
    where = f"{describe_step(chosen.step, chosen.max_steps)}, epoch {chosen.epoch:.2f}"
    logger.info("going on from %s (%s): %s", chosen.folder, where, why)


def best_first(checkpoints: Sequence[Checkpoint], *, greater_is_better: bool) -> list[Checkpoint]:
    """Those with a score, the best first; of equal ones the earliest, as training chooses it."""
    scored = [item for item in checkpoints if item.score is not None and math.isfinite(item.score)]
    sign = -1 if greater_is_better else 1
    return sorted(scored, key=lambda item: (sign * (item.score or 0.0), item.step))


def prune(run: Run, verifier: Verifier, *, keep_last: int, keep_best: int, greater_is_better: bool) -> list[str]:
    """Remove the checkpoints that are neither among the newest nor among the best.

    Those that stay are read and must be good: damaged ones do not count, and are neither kept for others nor removed.
    Without ``keep_last`` good ones nothing is removed.

    Returns:
        What was found to be wrong with checkpoints that would have stayed.
    """
    whole, found = list(whole_checkpoints(run)), []

    def first_good(ordered: Sequence[Checkpoint], count: int) -> list[Path]:
        good: list[Path] = []
        for item in ordered:
            if len(good) == count:
                break
            if faults := verifier.faults(item.folder):
                found.append(f"{item.folder.name}: {'; '.join(faults)}")
            else:
                good.append(item.folder)
        return good

    newest = first_good(whole, keep_last)
    best = first_good(best_first(whole, greater_is_better=greater_is_better), keep_best)
    damaged = {line.partition(":")[0] for line in found}
    if len(newest) == keep_last:
        for item in whole:
            if item.folder not in {*newest, *best} and item.folder.name not in damaged:
                remove_folder(item.folder)
    return sorted(set(found))


def point_to(pointer: Path, checkpoint: Path, step: int, score: float | None = None) -> None:
    """Name a checkpoint in a pointer file, in one go."""
    write_json(pointer, {"checkpoint": checkpoint.name, "step": step} | ({} if score is None else {"score": score}))


def _step_of(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino
