"""Evaluates trained runs side by side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from configuration.loading import load_config
from runs.folder import Run
from sweeps.engines.local import LocalEngine
from sweeps.trials.folder import SweepFolder, read_plan
from sweeps.trials.jobs import Job, Outcome
from sweeps.trials.progress import has_weights, read_results
from sweeps.trials.slots import Slot

logger = logging.getLogger(__name__)


class LogWatcher:
    """Says in the log what happens to jobs."""

    def started(self, job: Job, slot: Slot, starts: int) -> None:
        """A job was started."""
        logger.info("%s on %s; %s", job.name, slot, job.log)

    def ended(self, job: Job, outcome: Outcome, *, again: bool) -> None:
        """A start of a job is over."""
        logger.info("%s: %s%s", job.name, outcome.message or "evaluated", "; starting it again" if again else "")

    def tick(self) -> None:
        """Nothing to draw."""


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Run folders with a trained model: those named, and of a sweep's folder its trained trials.

    Raises:
        FileNotFoundError: If a folder is neither, or has no trained model.
    """
    runs: list[Path] = []
    for folder in folders:
        sweep = SweepFolder(folder)
        if sweep.plan.exists():
            runs += [run for trial in read_plan(sweep).trials if has_weights(Run(run := sweep.run(trial)).output)]
        elif has_weights(Run(folder).output) and Run(folder).config_file.exists():
            runs.append(folder)
        else:
            raise FileNotFoundError(f"{folder}: no trained run there; it needs config.json and output/ with weights")
    if not runs:
        raise FileNotFoundError(f"{', '.join(map(str, folders))}: no trained run there")
    return list({run.resolve(): run for run in runs}.values())


def evaluate_runs(
    runs: Sequence[Path], slots: Sequence[Slot], split: str | None, settings: Sequence[str]
) -> dict[str, Any]:
    """Run ``finetune.py eval`` for every run.

    Args:
        runs: Run folders.
        slots: Where to evaluate.
        split: val or test; None = each run's own.
        settings: ``key=value``, as ``--set``.

    Returns:
        By run its ``overall`` metrics and the results ``file``, or ``error``.

    Raises:
        ValueError: If that would change the results by which a sweep ranks its trials.
    """
    arguments = [argument for setting in settings for argument in ("--set", setting)]
    jobs, splits = {}, {}
    for run in runs:
        config = load_config(Run(run).config_file, [*settings, f"work_dir={run}"])
        splits[run] = split or config.eval.split
        if settings and _is_ranked_by(run, splits[run]):
            raise ValueError(
                f"--set: the leaderboard of its sweep ranks {run} by its results on {splits[run]}, which must not be "
                "replaced by others; evaluate another split, or the model into another folder with "
                f"finetune.py eval --conf {run}/config.json --checkpoint {run}/output --set work_dir=..."
            )
        command = ("eval", "--conf", str(Run(run).config_file), "--set", f"work_dir={run}", "--split", splits[run])
        jobs[run] = Job(str(run), (*command, *arguments), run / "eval.log")
    outcomes = LocalEngine(slots, 0, LogWatcher()).run(list(jobs.values()))
    found: dict[str, Any] = {}
    for run in runs:
        outcome = outcomes[str(run)]
        results = None if outcome.code else read_results(Run(run), splits[run])
        file = str(Run(run).eval / f"{splits[run]}.json")
        found[str(run)] = (
            {"error": outcome.message} if results is None else {"file": file, "overall": results["overall"]}
        )
    return found


def _is_ranked_by(run: Path, split: str) -> bool:
    sweep = SweepFolder(run.resolve().parent.parent)
    return sweep.plan.exists() and read_plan(sweep).split == split
