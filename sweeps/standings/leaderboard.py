"""What came of a sweep: its configurations in order, with intervals, as JSON and CSV, and the best one to use."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

from reports.sweep.measures import higher_is_better
from runs.folder import Run
from sweeps.trials.folder import SweepFolder
from sweeps.trials.halving import is_over, points_in, stretches_of
from sweeps.trials.plan import Plan, Trial, load_trial
from sweeps.trials.progress import read_progress, read_results
from utils.io import encode_json, read_json, write_json, write_text
from utils.trees import find_at, get_number

LEVEL = 0.95


def make_leaderboard(folder: SweepFolder, plan: Plan) -> dict[str, Any]:
    """Rank the configurations of a sweep, whatever state it is in.

    Trained ones come first, by the metric; then those that were stopped, the ones that came further first, by their
    validation number at the last comparison. The intervals of one seed are bootstrap intervals over images, from the
    trial's results; those of several are Student's over seeds.

    Args:
        folder: Of the sweep.
        plan: The sweep.

    Returns:
        ``metric``, ``level``, ``select``, ``split``, ``epochs``, ``axes``, ``seeds``, ``comparisons`` (epochs at which
        configurations were compared) and ``configurations``: ``rank``, ``point``, ``settings``, ``state`` (trained,
        stopped by a comparison, failed, or open), ``epochs``, ``metric``, ``interval``, ``interval_over`` (images or
        seeds), ``validation`` (best validation number so far; higher is better, so a likelihood is negative),
        ``at_comparisons`` (that number at each; None where it did not come so far) and ``trials``.

    Raises:
        ValueError: If a results file is damaged.
    """
    comparisons = [stretch.epochs for stretch in stretches_of(plan) if stretch.epochs is not None]
    by_point: dict[int, list[Trial]] = {}
    for trial in plan.trials:
        by_point.setdefault(trial.point, []).append(trial)
    rows = [_row(folder, plan, trials, comparisons) for trials in by_point.values()]
    for number in range(len(comparisons)):
        compared = set(points_in(folder, plan, number))
        taking_part = [row for row in rows if row["point"] in compared]
        if is_over(folder, number) or all(
            row["at_comparisons"][number] is not None or row["state"] == "failed" for row in taking_part
        ):
            chosen = set(points_in(folder, plan, number + 1))
            for row in taking_part:
                if row["state"] == "open" and row["point"] not in chosen:
                    row["state"] = "stopped"
    rows.sort(key=partial(_order, sign=_sign(plan.file.metric)))
    ranked = [{"rank": rank} | row for rank, row in enumerate(rows, start=1)]
    return {
        "metric": plan.file.metric,
        "level": LEVEL,
        "select": plan.select,
        "split": plan.split,
        "epochs": plan.epochs,
        "axes": list(plan.file.axes),
        "seeds": plan.file.seeds,
        "comparisons": comparisons,
        "configurations": ranked,
    }


def best_trial(board: Mapping[str, Any], plan: Plan) -> Trial | None:
    """The trained trial with the best metric among the seeds of the best configuration; None if none is trained."""
    first = next((row for row in board["configurations"] if row["state"] == "trained"), None)
    if first is None or first["metric"] is None:
        return None
    trained = [trial for trial in first["trials"] if trial["metric"] is not None]
    sign = _sign(board["metric"])
    name = max(trained, key=lambda trial: sign * trial["metric"])["name"]
    return next(trial for trial in plan.trials if trial.name == name)


def check_ranked(board: Mapping[str, Any]) -> None:
    """Refuse a sweep whose trained trials have no number to rank them by.

    Raises:
        ValueError: Saying where the reason is told, and what to do.
    """
    trained = [row for row in board["configurations"] if row["state"] == "trained"]
    if trained and all(row["metric"] is None for row in trained):
        results = f"{trained[0]['trials'][0]['run']}/eval/{board['split']}.json"
        raise ValueError(
            f"metric={board['metric']}: is not in the results of the trained trials; unavailable in {results} says "
            "why, if it could not be computed. Change metric in the sweep file and give the same command again"
        )


def write_leaderboard(folder: SweepFolder, plan: Plan, board: dict[str, Any]) -> None:
    """Write ``leaderboard.json``, ``.csv`` and ``.html`` and, once a trial is trained, ``best.json``."""
    from reports.sweep.page import write_page

    write_json(folder.root / "leaderboard.json", board)
    write_text(folder.root / "leaderboard.csv", to_csv(board))
    write_page(folder.root / "leaderboard.html", board, title=folder.root.name)
    best = best_trial(board, plan)
    if best is not None:
        config = load_trial(plan.file, best, folder.base, f"{folder.root}_best")
        write_json(folder.best, config.to_json_dict())


def to_csv(board: Mapping[str, Any]) -> str:
    """The configurations as a table, an axis a column; a validation likelihood is written as NLL, lower is better."""
    name, sign = ("val_CIDEr", 1) if board["select"] == "CIDEr" else ("val_NLL", -1)
    columns = ["rank", "state", *board["axes"], board["metric"], "low", "high", "interval_over", f"best_{name}"]
    columns += [f"{name}_after_{place:g}" for place in board["comparisons"]]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, "epochs", "trials"])
    for row in board["configurations"]:
        low, high = row["interval"] or (None, None)
        values = [_cell(row["settings"][axis]) for axis in board["axes"]]
        validations = [row["validation"], *row["at_comparisons"]]
        numbers = [None if value is None else sign * value for value in validations]
        names = " ".join(trial["name"] for trial in row["trials"])
        cells = [row["rank"], row["state"], *values, row["metric"], low, high, row["interval_over"], *numbers]
        writer.writerow([*cells, row["epochs"], names])
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Numbers and strings as they are, all else as in a sweep file."""
    is_plain = isinstance(value, int | float | str) and not isinstance(value, bool)
    return value if is_plain else encode_json(value).decode()


def student_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of a mean.

    Args:
        values: At least two.
        level: Coverage in (0, 1).
    """
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def _row(
    folder: SweepFolder,
    plan: Plan,
    trials: Sequence[Trial],
    comparisons: Sequence[float],
) -> dict[str, Any]:
    progress = [read_progress(Run(folder.run(trial))) for trial in trials]
    results = [read_results(Run(folder.run(trial)), plan.split) for trial in trials]
    metrics = [None if found is None else get_number(found, plan.file.metric) for found in results]
    failures = [read_json(path)["message"] if (path := folder.failure(trial)).exists() else None for trial in trials]
    trained = all(found is not None for found in results)
    interval, over = _interval(plan.file.metric, metrics, results[0])
    return {
        "point": trials[0].point,
        "settings": trials[0].settings,
        "state": "trained" if trained else "failed" if any(failures) else "open",
        "epochs": min(found.epoch for found in progress),
        "metric": _mean(metrics),
        "interval": interval,
        "interval_over": over,
        "validation": _mean([found.best_value(plan.select) for found in progress]),
        "at_comparisons": [_mean([found.value_at(place, plan.select) for found in progress]) for place in comparisons],
        "trials": [
            {
                "name": trial.name,
                "seed": trial.seed,
                "run": str(folder.run(trial)),
                "metric": metric,
                "failure": failure,
            }
            for trial, metric, failure in zip(trials, metrics, failures, strict=True)
        ],
    }


def _interval(
    metric: str, values: Sequence[float | None], results: Mapping[str, Any] | None
) -> tuple[list[float] | None, str | None]:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return None, None
    if len(numbers) > 1:
        return list(student_interval(numbers)), "seeds"
    place = find_at(results or {}, f"confidence.{metric}")
    return (list(place), "images") if isinstance(place, list) and len(place) == 2 else (None, None)


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return fmean(numbers) if len(numbers) == len(values) else None


def _sign(metric: str) -> int:
    """1 if more of the metric is better, else -1."""
    return 1 if higher_is_better(metric) else -1


def _order(row: Mapping[str, Any], sign: int) -> tuple[float, ...]:
    if row["state"] == "trained" and row["metric"] is not None:
        return 0, -sign * row["metric"]
    reached = [value for value in row["at_comparisons"] if value is not None]
    return 1 + (row["state"] == "failed"), -len(reached), -(reached[-1] if reached else -math.inf), row["point"]
