"""Successive halving: how far each configuration is trained, and which go on.

Everything is a function of the sweep's files, so that every process of a sweep that asks gets the same answer, and one
that was interrupted goes on where it stood.

Source:
    Jamieson and Talwalkar 2016, arXiv:1502.07943. Unlike there, a configuration that goes on is not trained anew: its
    runs were paused and continue on the schedule of their full length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import NamedTuple

from runs.checkpoints import complete_steps
from runs.folder import Run
from runs.metrics_log import EPOCH_DIGITS
from sweeps.trials.folder import SweepFolder
from sweeps.trials.plan import Plan, Trial
from sweeps.trials.progress import read_progress, read_results
from sweeps.trials.sweep_file import Halving
from utils.io import read_json, write_json


class Stretch(NamedTuple):
    """One stretch of a sweep."""

    epochs: float | None
    """Trials are trained so far and compared; None for the last, where they are trained to the end and evaluated."""
    points: int
    """Configurations that take part."""

    @property
    def goal(self) -> str:
        """How far trials are trained, in words."""
        return goal_of(self.epochs)


def goal_of(epochs: float | None) -> str:
    """How far trials are trained, in words; None = to the end."""
    return "to the end" if epochs is None else f"to {epochs:g} epochs"


def plan_stretches(points: int, epochs: int, halving: Halving | None) -> list[Stretch]:
    """The stretches of a sweep; the last trains to the end.

    Args:
        points: Configurations at the start.
        epochs: Length of a whole trial.
        halving: None for one stretch.
    """
    stretches = []
    if halving is not None:
        place = round(halving.first, EPOCH_DIGITS)
        while place < epochs and points > 1:
            stretches.append(Stretch(place, points))
            place, points = round(place * halving.factor, EPOCH_DIGITS), math.ceil(points / halving.factor)
    return [*stretches, Stretch(None, points)]


def stretches_of(plan: Plan) -> list[Stretch]:
    """The stretches of a planned sweep."""
    return plan_stretches(plan.trials[-1].point, plan.epochs, plan.file.halving)


def points_in(folder: SweepFolder, plan: Plan, stretch: int) -> list[int]:
    """Numbers of the configurations that take part in a stretch, best first; all stretches before it have ended."""
    stretches, recorded = stretches_of(plan), read_choices(folder)
    chosen = list(dict.fromkeys(trial.point for trial in plan.trials))
    for number in range(1, stretch + 1):
        values = point_values(folder, plan, stretches[number - 1].epochs or 0.0)
        chosen = recorded.get(str(number)) or choose(chosen, values, stretches[number].points)
    return chosen


def read_choices(folder: SweepFolder) -> dict[str, list[int]]:
    """By number of the stretch the configurations that were chosen for it, as far as that is recorded."""
    return dict(read_json(folder.choices)) if folder.choices.exists() else {}


def record_choice(folder: SweepFolder, plan: Plan, stretch: int) -> None:
    """Write down who takes part in a stretch, so that nothing that happens later changes it.

    Where too few were left to choose from it stays open: those that failed are tried again by the next start.
    """
    recorded = read_choices(folder)
    if stretch == 0 or str(stretch) in recorded:
        return
    chosen = points_in(folder, plan, stretch)
    if len(chosen) == stretches_of(plan)[stretch].points:
        write_json(folder.choices, recorded | {str(stretch): chosen})


def is_over(folder: SweepFolder, stretch: int) -> bool:
    """Whether a stretch has ended for good, because it is recorded who takes part in the next."""
    return str(stretch + 1) in read_choices(folder)


def choose(points: list[int], values: Mapping[int, float], count: int) -> list[int]:
    """The best ``count`` of some configurations; those without a value are out, and of equals the earlier go on."""
    return sorted((point for point in points if point in values), key=lambda point: (-values[point], point))[:count]


def point_values(folder: SweepFolder, plan: Plan, epochs: float) -> dict[int, float]:
    """By configuration the mean over its seeds of the validation number after ``epochs``, higher is better.

    A configuration of which a seed has not come so far (it crashed, or its loss was no number) has no value.
    """
    found: dict[int, list[float | None]] = {}
    for trial in plan.trials:
        value = read_progress(Run(folder.run(trial))).value_at(epochs, plan.select)
        found.setdefault(trial.point, []).append(value)
    return {
        point: fmean(value for value in values if value is not None)
        for point, values in found.items()
        if all(value is not None for value in values)
    }


def has_ended(folder: SweepFolder, plan: Plan, trial: Trial, epochs: float | None) -> bool:
    """Whether a trial has come as far as a stretch takes it; None = to its end.

    Raises:
        ValueError: If its results file is damaged.
    """
    run = Run(folder.run(trial))
    if epochs is None:
        return read_results(run, plan.split) is not None
    return run.output.is_dir() or _paused_at(run, epochs)


def _paused_at(run: Run, epochs: float) -> bool:
    # The checkpoint comes after the validation: a trial that was ended between the two has still to write it.
    validation = read_progress(run).validation_at(epochs)
    if validation is None:
        return False
    return any(step >= validation.step for step in complete_steps(run))
