"""The folder of a sweep: where things lie in it, and that it belongs to one sweep only."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from sweeps.trials.plan import Plan, Trial
from sweeps.trials.sweep_file import SweepFile
from utils.io import encode_json, read_json, shorten_json, write_json

MAY_CHANGE = ("metric", "retries")
"""Fields of the sweep file that no finished trial depends on."""


@dataclass(frozen=True)
class SweepFolder:
    """The places of a sweep's files. Making one touches nothing on disk."""

    root: Path

    @property
    def plan(self) -> Path:
        """The sweep file and the trials that follow from it."""
        return self.root / "sweep.json"

    @property
    def base(self) -> Path:
        """The base configuration as it was when the sweep began; what trials are started with."""
        return self.root / "base.json"

    @property
    def lock(self) -> Path:
        """Held while the sweep runs."""
        return self.root / "sweep.lock"

    @property
    def holder(self) -> Path:
        """Names the process that holds the lock."""
        return self.root / "sweep.pid"

    @property
    def best(self) -> Path:
        """The best configuration, ready for ``finetune.py --conf``."""
        return self.root / "best.json"

    @property
    def choices(self) -> Path:
        """Which configurations were chosen for each stretch of successive halving."""
        return self.root / "choices.json"

    @property
    def closed(self) -> Path:
        """There once the losers' weights are deleted: the sweep cannot go on."""
        return self.root / "closed.json"

    def run(self, trial: Trial) -> Path:
        """Run folder of a trial."""
        return self.root / "trials" / trial.name

    def log(self, trial: Trial) -> Path:
        """What a trial said on its standard output and error, all its starts."""
        return self.root / "logs" / f"{trial.name}.log"

    def failure(self, trial: Trial) -> Path:
        """How a trial failed, if it did."""
        return self.root / "logs" / f"{trial.name}.failed.json"


def enter_sweep(folder: SweepFolder, plan: Plan, processes: int = 1) -> None:
    """Make the folder of a sweep, or open it again.

    Args:
        folder: Locked.
        plan: The sweep.
        processes: Of each trial; the rows of a training step depend on it.

    Raises:
        ValueError: If it was made with another sweep file or another base configuration, or holds something else.
    """
    check_enterable(folder, plan, processes)
    if not folder.plan.exists():
        write_json(folder.base, plan.base)
    write_json(folder.plan, describe_plan(plan, processes))


def check_enterable(folder: SweepFolder, plan: Plan, processes: int) -> None:
    """Refuse what :func:`enter_sweep` refuses; writes nothing."""
    check_free(folder)
    if folder.plan.exists():
        check_same_sweep(folder, describe_plan(plan, processes), plan.base)
        check_open(folder)


def check_free(folder: SweepFolder) -> None:
    """Refuse a folder that holds something else than a sweep.

    Raises:
        ValueError: If it is there and not empty.
    """
    ours = {folder.lock.name, folder.holder.name}
    if folder.lock.exists():  # what is left of a sweep that was killed while its folder was made
        ours |= {folder.base.name, *(path.name for path in folder.root.glob(".*.json.*.tmp"))}
    if not folder.plan.exists() and folder.root.exists():
        if not folder.root.is_dir() or not ours.issuperset(path.name for path in folder.root.iterdir()):
            raise ValueError(f"{folder.root}: is not empty and no folder of a sweep; give another --work_dir")


def describe_plan(plan: Plan, processes: int = 1) -> dict[str, Any]:
    """What goes into ``sweep.json``; ``processes`` are those of each trial."""
    return {
        "processes": processes,
        "sweep": plan.file.model_dump(mode="json"),
        "epochs": plan.epochs,
        "select": plan.select,
        "split": plan.split,
        "trials": [trial._asdict() for trial in plan.trials],
    }


def read_plan(folder: SweepFolder) -> Plan:
    """The sweep that a folder holds.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If its files are damaged.
    """
    if not folder.plan.exists():
        raise FileNotFoundError(f"{folder.plan}: not found; {folder.root} is no folder of a sweep")
    held = read_json(folder.plan)
    try:
        file = SweepFile.model_validate_json(encode_json(held["sweep"]))
        trials = tuple(Trial(**trial) for trial in held["trials"])
        if not trials:
            raise KeyError("trials")
        return Plan(file, read_json(folder.base), trials, held["epochs"], held["select"], held["split"])
    except (KeyError, TypeError, ValidationError) as error:
        raise ValueError(f"{folder.plan}: is not the plan of a sweep, or was changed") from error


def check_same_sweep(folder: SweepFolder, wanted: dict[str, Any], base: dict[str, Any]) -> None:
    """Refuse a folder that was made with another sweep file.

    Raises:
        ValueError: Naming what differs.
    """
    held = read_json(folder.plan)
    if not isinstance(held, dict) or not isinstance(held.get("sweep"), dict) or not {"trials", "processes"} <= {*held}:
        raise ValueError(f"{folder.plan}: is not the plan of a sweep; give another --work_dir")
    old, new = held["sweep"], wanted["sweep"]
    names = [name for name in {**old, **new} if name not in MAY_CHANGE and old.get(name) != new.get(name)]
    changes = [f"  {name}: {shorten_json(old.get(name), 120)} -> {shorten_json(new.get(name), 120)}" for name in names]
    if not names and encode_json(held["trials"]) != encode_json(wanted["trials"]):
        changes.append("  trials: others follow from the sweep file (axes in another order, or another program)")
    if held["processes"] != wanted["processes"]:
        changes.append(f"  processes of a trial: {held['processes']} -> {wanted['processes']} (how wide GPU_IDS are)")
    if read_json(folder.base) != base:
        changes.append(f"  the content of {new['base']}, kept in {folder.base}")
    if changes:
        raise ValueError(
            f"{folder.root}: holds a sweep made with another grid (old -> new):\n" + "\n".join(changes) + "\n"
            "give another --work_dir, or restore the old values to go on with that sweep"
        )


def check_open(folder: SweepFolder) -> None:
    """Refuse a sweep that cannot go on.

    Raises:
        ValueError: If the losers' weights were deleted.
    """
    if folder.closed.exists():
        raise ValueError(
            f"{folder.root}: this sweep is closed: the weights of its other trials were deleted when the best was "
            "promoted; give another --work_dir to sweep again"
        )


@contextmanager
def locked(folder: SweepFolder) -> Iterator[None]:
    """Hold a sweep's lock; it is free again when the process ends, however it ends.

    Raises:
        ValueError: If another process holds it, or the folder holds something else than a sweep.
    """
    check_free(folder)
    folder.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.lock)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        try:
            process = folder.holder.read_text().strip()
        except OSError:
            process = "unknown"
        raise ValueError(f"{folder.root}: this sweep is running already (process {process})") from error
    try:
        folder.holder.write_text(f"{os.getpid()} on {platform.node()}\n")
        yield
    finally:
        folder.holder.unlink(missing_ok=True)
        lock.release()
