"""Copies the best model of a sweep to where it stays, with where it comes from; deletes the others only if asked."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from runs.folder import Run
from sweeps.standings.leaderboard import best_trial, check_ranked, make_leaderboard
from sweeps.trials.folder import SweepFolder, check_open
from sweeps.trials.plan import Plan, Trial
from sweeps.trials.progress import has_weights, read_results
from utils.environment import REPOSITORY, describe_environment
from utils.io import hash_file, read_json, write_json
from utils.trees import find_at, get_number

logger = logging.getLogger(__name__)

PROVENANCE = "provenance.json"
OPEN_MODEL = "import sys, pathlib, models; models.open_captioner(pathlib.Path(sys.argv[1]), sys.argv[2] or None)"
WEIGHTS = ("*.bin", "*.safetensors", "*.pt", "*.pth")


def promote(
    folder: SweepFolder, plan: Plan, to: Path, *, trial: str | None = None, delete_losers: bool = False
) -> dict[str, Any]:
    """Copy a trained model, check the copy, and only then put it into its place.

    The copy is compared byte by byte (SHA-256) and opened as a model. Nothing is deleted unless asked, and then after
    that; configurations, metrics, results and captions of all trials stay.

    Args:
        folder: Of the sweep, locked.
        plan: The sweep.
        to: Folder for the model. One that holds this very model already is checked again and kept.
        trial: Name of a trained trial; None = the best.
        delete_losers: Delete the weights of all other trials, checkpoints included; the sweep cannot go on then.

    Returns:
        Where the model is, the trial, its metric, the interval of its configuration, and ``freed_bytes``; all else is
        in ``provenance.json`` there.

    Raises:
        ValueError: If nothing is trained, ``to`` holds something else, the copy is not right, or losers are to be
            deleted while trials are still open.
    """
    to = to.resolve()
    board = make_leaderboard(folder, plan)
    chosen = _choose(board, plan, trial)
    if (folder.root / "trials").resolve() in (to, *to.parents):
        raise ValueError(f"{to}: is inside the trials of the sweep; give another folder with --to")
    if delete_losers:
        _check_finished(folder, board, chosen, to)
    source = folder.run(chosen) / "output"
    if not has_weights(source):
        raise ValueError(f"{source}: the weights of {chosen.name} are not there any more")
    files, kind = hash_files(source), find_at(read_json(Run(folder.run(chosen)).config_file), "model.kind")
    if not _holds(to, files):
        provenance = describe_origin(folder, plan, board, chosen) | {"files_sha256": files}
        copy_checked(source, to, files, provenance, kind)
        logger.info("%s: model of %s", to, chosen.name)
    check_model(to, files, kind)
    origin = read_json(to / PROVENANCE)
    said = {"promoted": str(to)} | {key: origin[key] for key in ("trial", "metric", "value", "interval")}
    if delete_losers:
        write_json(folder.closed, {"promoted": str(to), "trial": chosen.name})
        losers = [folder.run(other) for other in plan.trials if other != chosen]
        said["freed_bytes"] = sum(delete_weights(run) for run in losers)
        check_model(to, files, kind)
    return said


def describe_origin(folder: SweepFolder, plan: Plan, board: dict[str, Any], trial: Trial) -> dict[str, Any]:
    """Where a model comes from: what is needed to judge it, and to train it again.

    The ``interval`` is that of the configuration, whose seeds have ``configuration_mean``. The model was chosen by
    these numbers, so all of them are optimistic.
    """
    run = Run(folder.run(trial))
    row = next(row for row in board["configurations"] if row["point"] == trial.point)
    results = read_results(run, plan.split) or {}
    return {
        "sweep": str(folder.root.resolve()),
        "trial": trial.name,
        "rank": row["rank"],
        "configurations": len(board["configurations"]),
        "settings": trial.settings,
        "seed": trial.seed,
        "metric": board["metric"],
        "value": get_number(results, board["metric"]),
        "configuration_mean": row["metric"],
        "interval": row["interval"],
        "interval_over": row["interval_over"],
        "split": plan.split,
        "overall": results.get("overall"),
        "results_provenance": results.get("provenance"),
        "config": read_json(run.config_file),
        "trained_in": read_json(run.root / "environment.json"),
        "promoted_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "promoted_in": describe_environment(),
    }


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of every file under a folder, by its path there; our own provenance left out."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: hash_file(path) for name, path in files.items() if name != PROVENANCE}


def copy_checked(
    source: Path, to: Path, files: dict[str, str], provenance: dict[str, Any], kind: str | None = None
) -> None:
    """Copy a model aside, check it, and rename it into its place, which must be free."""
    aside = to.with_name(f".{to.name}.{secrets.token_hex(4)}.tmp")
    try:
        shutil.copytree(source, aside)
        for name in files:
            with (aside / name).open("rb") as file:
                os.fsync(file.fileno())
        write_json(aside / PROVENANCE, provenance)
        check_model(aside, files, kind)
        aside.rename(to)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def check_model(folder: Path, files: dict[str, str], kind: str | None = None) -> None:
    """Refuse a copy that differs from its source, or that does not open as a model.

    Args:
        folder: The copy.
        files: Hashes of the source's.
        kind: As for ``models.open_captioner``; None is what the folder says.

    Raises:
        ValueError: Saying which file differs, or why it does not open.
    """
    found = hash_files(folder)
    different = sorted(name for name in {*files, *found} if files.get(name) != found.get(name))
    if different:
        raise ValueError(f"{folder}: the copy differs from the trained model in {', '.join(different)}")
    # In a process of its own, so that sweeping needs neither torch nor the model's memory.
    command = [sys.executable, "-c", OPEN_MODEL, str(folder.resolve()), kind or ""]
    opened = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if opened.returncode:
        last = (opened.stderr.strip().splitlines() or ["no message"])[-1]
        raise ValueError(f"{folder}: does not open as a model: {last}")


def delete_weights(run: Path) -> int:
    """Delete the weights and checkpoints in a run folder, links not followed; returns the bytes that were freed."""
    freed = 0
    for name in ("checkpoints", "output"):
        place = run / name
        if run.is_symlink() or place.is_symlink() or not place.is_dir():
            continue
        doomed = [
            path for pattern in WEIGHTS for path in place.rglob(pattern) if path.is_file() and not path.is_symlink()
        ]
        for path in doomed:
            freed += path.stat().st_size
            path.unlink()
    logger.info("%s: weights deleted, %.1f MB", run, freed / 1e6)
    return freed


def _choose(board: dict[str, Any], plan: Plan, name: str | None) -> Trial:
    best = best_trial(board, plan)
    if name is None and best is None:
        check_ranked(board)
        raise ValueError("no trial of this sweep is trained yet; run it first")
    if name is None and best is not None:
        return best
    trained = [trial["name"] for row in board["configurations"] if row["state"] == "trained" for trial in row["trials"]]
    if name not in trained:
        raise ValueError(f"--trial {name}: no trained trial has that name; trained: {', '.join(trained)}")
    return next(trial for trial in plan.trials if trial.name == name)


def _check_finished(folder: SweepFolder, board: dict[str, Any], chosen: Trial, to: Path) -> None:
    # The same command again goes on where deleting was interrupted.
    if not folder.closed.exists() or read_json(folder.closed) != {"promoted": str(to), "trial": chosen.name}:
        check_open(folder)
    still = [str(row["point"]) for row in board["configurations"] if row["state"] == "open"]
    if still:
        raise ValueError(f"--delete_losers: configurations {', '.join(still)} are still open; let the sweep end first")


def _holds(to: Path, files: dict[str, str]) -> bool:
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        to.parent.mkdir(parents=True, exist_ok=True)
        return False
    if (to / PROVENANCE).is_file() and hash_files(to) == files:
        return True
    raise ValueError(f"{to}: is there already and holds something else; give another folder with --to")
