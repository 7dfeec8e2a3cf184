"""The report's pictures as places and shades that its template draws: curves and the confusion of styles."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType
from typing import Any, NamedTuple

from reports.ticks import ticks

Points = Sequence[tuple[int, float]]

COLOURS = ("train", "val")
"""The style sheet's colours of a chart's curves, in order; no chart has more."""


class TrainingChart(NamedTuple):
    """A chart of numbers logged in training."""

    title: str
    note: str
    curves: Mapping[str, str]
    """By the name shown, the name in ``metrics.jsonl`` after ``train/``."""
    deviation: str = ""
    """Likewise; "" for none."""
    covers: Sequence[float] = ()
    """Values that the y axis has to reach."""


TRAINING_CHARTS = (
    TrainingChart("Reward", "weighted sum of its terms; band: one deviation", {"mean": "reward"}, "reward_std"),
    TrainingChart(
        "Shares",
        "of the pictures, of the drawn captions",
        {"all rewards equal": "flat_share", "captions without an end": "unended_share"},
        covers=(0.0, 1.0),
    ),
    TrainingChart("Caption length", "of the drawn captions, tokens with EOS", {"mean": "caption_length"}),
    TrainingChart("Distinct-2", "different word pairs per pair, in a batch of drawn captions", {"mean": "distinct_2"}),
    TrainingChart("Unweighted losses", "nats per token", {"cross-entropy": "cross_entropy", "masked LM": "masked_lm"}),
    TrainingChart("KL divergence", "from the starting model, nats per token", {"KL": "kl"}),
    TrainingChart("Preference loss", "nats per pair", {"mean": "preference"}),
    TrainingChart(
        "Margin",
        "implicit reward of the chosen caption over the rejected one; band: one deviation",
        {"mean": "margin"},
        "margin_std",
    ),
    TrainingChart(
        "Pair accuracy", "share of the pairs whose margin is above 0", {"accuracy": "pair_accuracy"}, covers=(0.0, 1.0)
    ),
    TrainingChart("Length in pairs", "tokens with EOS", {"chosen": "chosen_length", "rejected": "rejected_length"}),
    TrainingChart(
        "Log-probability in pairs",
        "nats per token; where that of the chosen captions falls too, the model leaves both",
        {"chosen": "chosen_log_prob", "rejected": "rejected_log_prob"},
    ),
    TrainingChart(
        "Unlikelihood",
        "nats per token",
        {"repetition": "unlikelihood_repetition", "other styles' words": "unlikelihood_leakage"},
    ),
)
NOT_DRAWN = {"loss", "grad_norm", "lr", "scst"}
"""The loss has a chart of its own, and the self-critical one hovers around zero whatever is learnt."""
MAX_CURVE_POINTS = 200
MAX_NAMED_STYLES = 24
"""More styles than this have no room for their names beside a confusion matrix."""
MAX_COUNTED_STYLES = 8
"""Up to so many styles a cell of the confusion matrix has room for its count under its share."""
MAX_MISTAKES = 12
SHADES = 8


def line_chart(
    curves: Mapping[str, Points], deviation: Points = (), covers: Sequence[float] = ()
) -> dict[str, Any] | None:
    """Curves and ticks in percent of the plot's width and height, y downwards; None if there is nothing to draw.

    Args:
        curves: By name the points (optimizer step, value); those that are not finite are counted.
        deviation: Points (optimizer step, deviation): every curve gets a band of that half-width.
        covers: Values that the y axis has to reach.
    """
    finite = {name: [point for point in points if math.isfinite(point[1])] for name, points in curves.items()}
    drawn = {name: _thin_out(_widen(points, deviation)) for name, points in finite.items()}
    every = [point for points in drawn.values() for point in points]
    if not every:
        return None
    last_step = max(step for step, _, _ in every)
    edges = [value + side * width for _, value, width in every for side in (-1, 1)]
    x_ticks, y_ticks = ticks(0, last_step), ticks(min(*edges, *covers), max(*edges, *covers))
    x_high, y_low, y_high = max(last_step, 1), y_ticks[0], y_ticks[-1]

    def place(step: float, value: float) -> tuple[float, float]:
        return round(100 * step / x_high, 3), round(100 * (y_high - value) / (y_high - y_low), 3)

    return {
        "curves": [
            {
                "name": name,
                "colour": COLOURS[i],
                "last": finite[name][-1][1],
                "points": [{"at": place(step, value), "step": step, "value": value} for step, value, _ in points],
                "band": [place(*corner) for corner in _outline(points)],
            }
            for i, (name, points) in enumerate(drawn.items())
            if points
        ],
        "x_ticks": [(place(tick, y_low)[0], f"{tick:,.0f}") for tick in x_ticks if tick <= x_high],
        "y_ticks": [(place(0, tick)[1], f"{tick:g}") for tick in y_ticks],
        "not_finite": sum(map(len, curves.values())) - sum(map(len, finite.values())),
    }


def training_charts(
    numbers: Mapping[str, Points], labels: Mapping[str, str] = MappingProxyType({})
) -> list[dict[str, Any]]:
    """What there is to draw of the numbers logged in training, each with ``title``, ``note`` and :func:`line_chart`.

    Numbers that stand in no chart of the table get one of their own, so that whatever is logged is also seen.

    Args:
        numbers: By name, as in ``metrics.jsonl`` after ``train/``, the points (optimizer step, value).
        labels: Titles for such numbers; without one the name is the title.
    """
    reward, *others = TRAINING_CHARTS
    note = "unweighted; band: one deviation"
    terms = [name.removeprefix("reward/") for name in numbers if name.startswith("reward/")]
    by_term = [
        TrainingChart(f"Reward term {term}", note, {"mean": f"reward/{term}"}, f"reward_std/{term}") for term in terms
    ]
    known = {name for chart in TRAINING_CHARTS for name in (*chart.curves.values(), chart.deviation)}
    unknown = [
        TrainingChart(labels.get(name, name), "unweighted", {labels.get(name, name): name})
        for name in numbers
        if name not in known | NOT_DRAWN and not name.startswith(("reward/", "reward_std/"))
    ]
    charts = []
    for wanted in (reward, *by_term, *others, *unknown):
        curves = {shown: numbers[name] for shown, name in wanted.curves.items() if name in numbers}
        chart = line_chart(curves, numbers.get(wanted.deviation, ()), wanted.covers)
        if chart is not None:
            charts.append({"title": wanted.title, "note": wanted.note} | chart)
    # Where there was cross-entropy alone, it is the loss that has a chart of its own already.
    alone = [curve["name"] for chart in charts for curve in chart["curves"]] == ["cross-entropy"]
    return [] if alone else charts


def _widen(points: Points, deviations: Points) -> list[tuple[float, float, float]]:
    """Sorted (step, value, deviation); 0 where there is no finite deviation."""
    widths = {step: width for step, width in deviations if math.isfinite(width)}
    return [(step, value, widths.get(step, 0.0)) for step, value in sorted(points)]


def _outline(points: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """Corners (step, value) of the band, along its upper edge and back along the lower; none without a deviation."""
    if not any(width for _, _, width in points):
        return []
    upper = [(step, value + width) for step, value, width in points]
    return upper + [(step, value - width) for step, value, width in reversed(points)]


def _thin_out(points: Sequence[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Replace neighbours by their mean so that at most ``MAX_CURVE_POINTS`` are left."""
    size = max(1, math.ceil(len(points) / MAX_CURVE_POINTS))
    chunks = (zip(*points[start : start + size], strict=True) for start in range(0, len(points), size))
    return [(fmean(steps), fmean(values), fmean(widths)) for steps, values, widths in chunks]


@dataclass(frozen=True)
class Mistake:
    """Captions that were asked for in one style and heard as another."""

    asked: str
    heard: str
    count: int
    n: int
    """Captions asked for in ``asked``."""


def confusion_map(confusion: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the judge heard: a named cell for each pair of styles, or an overview where their names have no room.

    Args:
        confusion: ``styles``, and ``counts`` with a row for each style asked for and a column for each style heard.

    Returns:
        ``styles``, ``counted`` (whether a cell has room for its count), ``rows`` (each with ``style``, ``n`` and
        ``cells``; empty for an overview), ``layers`` (paths in units of cells; empty where there are rows) and
        ``mistakes``, the most frequent first. None for fewer than two styles: nothing can be confused.
    """
    styles, counts = confusion.get("styles") or [], confusion.get("counts") or []
    if len(styles) < 2:
        return None
    named = len(styles) <= MAX_NAMED_STYLES
    return {
        "styles": styles,
        "counted": len(styles) <= MAX_COUNTED_STYLES,
        "rows": [_named_row(style, styles, row) for style, row in zip(styles, counts, strict=True)] if named else [],
        "layers": [] if named else _layers(counts),
        "mistakes": mistakes(confusion)[:MAX_MISTAKES],
    }


def mistakes(confusion: Mapping[str, Any]) -> list[Mistake]:
    """Every style that the judge took for another, the most captions first, of equals the larger share."""
    styles, counts = confusion.get("styles") or [], confusion.get("counts") or []
    found = [
        Mistake(asked, heard, count, sum(row))
        for asked, row in zip(styles, counts, strict=True)
        for heard, count in zip(styles, row, strict=True)
        if count and heard != asked
    ]
    return sorted(found, key=lambda mistake: (-mistake.count, mistake.n))


def _named_row(asked: str, styles: Sequence[str], counts: Sequence[int]) -> dict[str, Any]:
    n = sum(counts)
    cells = [
        {
            "heard": heard,
            "count": count,
            "share": count / n if n else None,
            "strength": round(_strength(count, n), 2),
            "right": heard == asked,
        }
        for heard, count in zip(styles, counts, strict=True)
    ]
    return {"style": asked, "n": n, "cells": cells}


def _strength(count: int, n: int) -> float:
    """Colour of a cell in [0, 1]: the square root of its share, so that mistakes of a few percent are seen as well."""
    return math.sqrt(count / n) if count else 0.0


def _layers(counts: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """One path for all cells of a shade: 215 styles have thousands of cells, too many for an element each."""
    paths: defaultdict[tuple[bool, int], list[str]] = defaultdict(list)
    for y, row in enumerate(counts):
        for x, count in enumerate(row):
            if count:
                shade = math.ceil(SHADES * _strength(count, sum(row)))
                paths[x == y, shade].append(f"M{x} {y}h1v1h-1z")
    return [
        {"right": right, "opacity": shade / SHADES, "path": "".join(cells)}
        for (right, shade), cells in sorted(paths.items())
    ]
