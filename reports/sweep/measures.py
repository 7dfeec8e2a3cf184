"""The numbers of a leaderboard that configurations are compared by, named and in the direction they are shown in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metrics.table import METRICS
from metrics.text_lm import DOCUMENT_METRICS
from reports.sweep.scales import Scale, is_number, linear_scale

Row = Mapping[str, Any]
"""One of the board's configurations."""


@dataclass(frozen=True)
class Measure:
    """A number that configurations are compared by."""

    name: str
    """As in "validation NLL after 0.5 epochs"."""
    lower_is_better: bool
    values: Mapping[int, float]
    """By point, as it is shown; those that have it."""
    intervals: Mapping[int, tuple[float, float]]

    @property
    def better(self) -> str:
        """Which end is the good one."""
        return "lower is better" if self.lower_is_better else "higher is better"

    def scale(self) -> Scale:
        """Linear, with room for the intervals."""
        return linear_scale([*self.values.values(), *(end for ends in self.intervals.values() for end in ends)])


def metric_measure(board: Mapping[str, Any]) -> Measure:
    """The metric of the trained configurations, with its intervals."""
    rows = [row for row in board["configurations"] if is_number(row["metric"])]
    return Measure(
        metric_name(board),
        lower_is_better=not higher_is_better(str(board["metric"])),
        values={row["point"]: row["metric"] for row in rows},
        intervals={
            row["point"]: (row["interval"][0], row["interval"][1])
            for row in rows
            if row["interval"] is not None and all(is_number(end) for end in row["interval"])
        },
    )


def comparison_measure(board: Mapping[str, Any], number: int) -> Measure:
    """The validation number at a comparison of successive halving, counted from 0; a likelihood as the positive NLL."""
    lower = board["select"] == "loss"
    found = {row["point"]: row["at_comparisons"][number] for row in board["configurations"]}
    return Measure(
        f"validation {'NLL' if lower else 'CIDEr'} after {epochs_text(board['comparisons'][number])}",
        lower_is_better=lower,
        values={point: -value if lower else value for point, value in found.items() if is_number(value)},
        intervals={},
    )


def common_measure(board: Mapping[str, Any]) -> Measure:
    """The number that all configurations have: the first comparison's, or the metric where none is stopped early."""
    return comparison_measure(board, 0) if board["comparisons"] else metric_measure(board)


def higher_is_better(place: str) -> bool:
    """Whether more is better of the number at a dotted place of the results: as the tables of metrics say, else yes."""
    group, _, name = place.partition(".")
    if group == "overall" and name in DOCUMENT_METRICS:
        return DOCUMENT_METRICS[name]
    return group != "overall" or name not in METRICS or METRICS[name].higher_is_better


def metric_name(board: Mapping[str, Any]) -> str:
    """The metric without the group that most metrics are in."""
    return str(board["metric"]).removeprefix("overall.")


def epochs_text(epochs: float) -> str:
    """A number of epochs with its unit."""
    return f"{epochs:g} epoch{'' if epochs == 1 else 's'}"


def best_row(board: Mapping[str, Any]) -> Row | None:
    """The trained configuration with the best metric; None while there is none."""
    return next((row for row in board["configurations"] if _is_trained(row)), None)


def look(row: Row, best: Row | None) -> str:
    """The style sheet's class of a configuration."""
    return "best" if best is not None and row["point"] == best["point"] else str(row["state"])


def _is_trained(row: Row) -> bool:
    return row["state"] == "trained" and is_number(row["metric"])
