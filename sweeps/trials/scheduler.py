"""Takes the trials of a sweep through its stretches, on whichever engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from sweeps.trials.folder import SweepFolder
from sweeps.trials.halving import goal_of, has_ended, is_over, points_in, record_choice, stretches_of
from sweeps.trials.jobs import Engine, Outcome, job_of
from sweeps.trials.plan import Plan, Trial
from utils.exit_codes import FAULT
from utils.io import write_json

logger = logging.getLogger(__name__)


class OpenStretch(NamedTuple):
    """A stretch of a sweep whose trials are known."""

    number: int
    """From 1."""
    total: int
    """Stretches of the sweep."""
    epochs: float | None
    """How far trials are trained; None = to the end."""
    trials: tuple[Trial, ...]
    """Those that take part."""

    @property
    def goal(self) -> str:
        """How far trials are trained, in words."""
        return goal_of(self.epochs)


def run_sweep(
    folder: SweepFolder, plan: Plan, engine: Engine, enter: Callable[[OpenStretch], None] = lambda stretch: None
) -> dict[str, Outcome]:
    """Run what is left of a sweep.

    Args:
        folder: Of the sweep, made and locked.
        plan: The sweep.
        engine: Where trials run.
        enter: Called at the beginning of each stretch.

    Returns:
        By name of the trial how it failed, for those that did.

    Raises:
        ValueError: If a results file is damaged.
    """
    check_results(folder, plan)
    failures: dict[str, Outcome] = {}
    for number in range(len(stretches_of(plan))):
        if is_over(folder, number):
            continue
        record_choice(folder, plan, number)
        stretch = stretch_of(folder, plan, number)
        enter(stretch)
        failures |= run_stretch(folder, plan, stretch, engine)
    # One that failed in a stretch may have gone on in the next, from what it had come to.
    standing = {trial.name for trial in plan.trials if folder.failure(trial).exists()}
    return {name: outcome for name, outcome in failures.items() if name in standing}


def stretch_of(folder: SweepFolder, plan: Plan, number: int) -> OpenStretch:
    """A stretch, counted from 0; those before it must have ended."""
    stretches, points = stretches_of(plan), points_in(folder, plan, number)
    rank = {point: place for place, point in enumerate(points)}
    trials = sorted((trial for trial in plan.trials if trial.point in rank), key=lambda trial: rank[trial.point])
    return OpenStretch(number + 1, len(stretches), stretches[number].epochs, tuple(trials))


def run_stretch(folder: SweepFolder, plan: Plan, stretch: OpenStretch, engine: Engine) -> dict[str, Outcome]:
    """Run the trials of a stretch that have not ended it; returns how those failed that did, and records it."""
    left = [trial for trial in stretch.trials if not has_ended(folder, plan, trial, stretch.epochs)]
    if len(left) < len(stretch.trials):
        logger.info(
            "%d of %d trials have done this stretch already", len(stretch.trials) - len(left), len(stretch.trials)
        )
    for trial in left:
        folder.failure(trial).unlink(missing_ok=True)
    outcomes = engine.run([job_of(folder, plan, trial, stretch.epochs) for trial in left]) if left else {}
    failures: dict[str, Outcome] = {}
    for trial in left:
        if not has_ended(folder, plan, trial, stretch.epochs):
            outcome = outcomes.get(trial.name, Outcome(FAULT, 0, "was never started"))
            failures[trial.name] = outcome if outcome.code else outcome._replace(message="ended without a result")
            write_json(folder.failure(trial), failures[trial.name]._asdict())
    return failures


def check_results(folder: SweepFolder, plan: Plan) -> None:
    """Refuse a sweep with a damaged results file before anything is started."""
    for trial in plan.trials:
        has_ended(folder, plan, trial, None)
