"""What is watched: runs, or a sweep with its trials, found anew at every look since trials come one after another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.sweep.measures import higher_is_better
from runs.files import read_object
from runs.folder import Run
from runs.state import find_runs, is_run
from serving.watch.run import RunView, WatchedRun, key_of
from utils.io import read_json, shorten_json
from utils.trees import find_at, get_number


@dataclass(frozen=True)
class Entry:
    """A run, or a trial that may not have begun."""

    name: str
    key: str
    state: str
    """One of ``runs.state.STATES``; of a trial also waiting."""
    reason: str
    settings: str
    """What tells a trial from the others; "" for a run."""
    view: RunView | None
    result: float | None
    """The number that a sweep is ranked by, once the trial is evaluated."""


@dataclass(frozen=True)
class Overview:
    """All that is watched, at one moment."""

    title: str
    metric: str
    """That ``result`` is of."""
    entries: Sequence[Entry]
    best: Entry | None
    """Highest in the metric; before any trial has it, in the validation number. None for runs that are no sweep."""
    best_value: str

    @property
    def has_settings(self) -> bool:
        """Whether there is something to tell trials apart by."""
        return any(entry.settings for entry in self.entries)


class Watched:
    """The runs of some folders.

    Args:
        folders: Run folders, sweep folders, or folders that hold runs.

    Raises:
        FileNotFoundError: If a folder is not there, or holds no run and no sweep.
        ValueError: If it cannot be read, or its sweep is damaged.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [*folders]
        self._known: dict[str, WatchedRun] = {}
        self._is_alone = len(folders) == 1 and is_run(folders[0])
        for folder in folders:
            if not is_sweep(folder) and not find_runs(folder):
                raise FileNotFoundError(f"{folder}: holds no run and no sweep; name a run folder, or a sweep's")
        self.overview()

    @property
    def only(self) -> WatchedRun | None:
        """The run, if a single run folder is watched."""
        return self._run(self.folders[0]) if self._is_alone else None

    def find(self, key: str) -> WatchedRun | None:
        """A run by its key, one of those that an overview has named."""
        return self._known.get(key)

    def overview(self) -> Overview:
        """All runs as they are now."""
        entries: list[Entry] = []
        plan: Mapping[str, Any] = {}
        for folder in self.folders:
            if is_sweep(folder):
                plan = read_object(folder / "sweep.json")
                entries += self._trials(folder, plan)
            else:
                entries += [_entry_of_run(run.root, self._run(run.root)) for run in find_runs(folder)]
        metric = str(find_at(plan, "sweep.metric") or "overall.CIDEr")
        best, value = _best(entries, metric) if plan else (None, "")
        title = self.folders[0].resolve().name if len(self.folders) == 1 else f"{len(self.folders)} folders"
        return Overview(title, metric.removeprefix("overall."), entries, best, value)

    def _run(self, folder: Path) -> WatchedRun:
        key = key_of(folder)
        if key not in self._known:
            self._known[key] = WatchedRun(Run(folder))
        return self._known[key]

    def _trials(self, folder: Path, plan: Mapping[str, Any]) -> list[Entry]:
        trials = plan.get("trials")
        if not isinstance(trials, list) or not all(isinstance(find_at(trial, "name"), str) for trial in trials):
            raise ValueError(f"{folder / 'sweep.json'}: is not the plan of a sweep, or was changed")
        return [self._trial(folder, plan, trial) for trial in trials]

    def _trial(self, folder: Path, plan: Mapping[str, Any], trial: Mapping[str, Any]) -> Entry:
        name = Path(str(trial["name"])).name
        place = folder / "trials" / name
        settings = trial.get("settings")
        told = ", ".join(f"{key} {shorten_json(value, 40)}" for key, value in (settings or {}).items())
        failure = _failure(folder / "logs" / f"{name}.failed.json")
        if not is_run(place):
            return Entry(name, "", "failed" if failure else "waiting", failure, told, None, None)
        watched = self._run(place)
        view = watched.look()
        results = view.record.evaluations.get(str(plan.get("split")), {})
        result = get_number(results, str(find_at(plan, "sweep.metric")))
        failed = bool(failure) and view.state.state != "running"
        state, reason = ("failed", failure) if failed else (view.state.state, view.state.reason)
        return Entry(name, watched.key, state, reason, told, view, result)


def is_sweep(folder: Path) -> bool:
    """Whether a folder is that of a sweep."""
    return (folder / "sweep.json").is_file()


def _entry_of_run(folder: Path, watched: WatchedRun) -> Entry:
    view = watched.look()
    result = next((score.cider for score in view.state.scores.values()), None)
    return Entry(str(folder), watched.key, view.state.state, view.state.reason, "", view, result)


def _failure(file: Path) -> str:
    """Why a trial failed; "" if it did not."""
    try:
        return str(read_json(file)["message"]) if file.exists() else ""
    except (ValueError, OSError, KeyError, TypeError):
        return "failed; its reason cannot be read"


def _best(entries: Sequence[Entry], metric: str) -> tuple[Entry | None, str]:
    """The best trial so far, and its number in words."""
    sign = 1 if higher_is_better(metric) else -1
    ranked = [(sign * entry.result, entry) for entry in entries if entry.result is not None]
    if ranked:
        value, entry = max(ranked, key=lambda pair: pair[0])
        return entry, f"{metric.removeprefix('overall.')} {sign * value:.4f}"
    told = [(entry.view.state.best, entry) for entry in entries if entry.view is not None]
    finite = [(best, entry) for best, entry in told if best is not None and math.isfinite(best.value)]
    if not finite:
        return None, ""
    lower = finite[0][0].metric in ("val/loss", "val/nll")
    best, entry = min(finite, key=lambda pair: pair[0].value if lower else -pair[0].value)
    return entry, f"{best.metric.replace('/', ' ')} {best.value:.4f}"
