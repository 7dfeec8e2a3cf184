"""The plots of a sweep's page as places that its template draws; in percent of a plot, y downwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reports.sweep.measures import Measure, Row, best_row, comparison_measure, look, metric_measure
from reports.sweep.scales import Scale, is_number, linear_scale, make_scale

SHADES = 9
"""Colours of the style sheet from the first rank to the last."""
UPRIGHT_SPACING = 6.0
"""Percent of an upright axis that two labels are apart."""
LEVEL_SPACING = 15.0
"""Percent of a level axis that the labels of two numbers are apart."""
TILTED_SPACING = 7.0
"""Likewise of categories, whose labels are tilted where they are long or many."""
LEVEL_CHARACTERS = 36
"""Characters that labels side by side under a small plot have room for."""
MAX_LABEL = 16
"""Characters of a category's name on an axis."""
MAX_ROWS = 40
"""More configurations than this are not named one by one."""
LAYERS = ("failed", "open", "stopped", "trained", "best")
"""What is drawn over what."""


def parallel_plot(board: Mapping[str, Any]) -> dict[str, Any]:
    """An upright line for each axis and each result, and a line through them for each configuration.

    Returns:
        ``axes``, each with ``name``, ``note``, ``x``, ``ticks`` (y and label), ``gap`` (y or None) and ``result``
        (whether it is one), and ``lines`` from back to front, each with ``point``, ``look``, ``shade`` (None for
        configurations without any number) and ``segments``: where a result is missing, a line is broken or ends.
    """
    rows, best = board["configurations"], best_row(board)
    uprights = [_setting_upright(key, rows) for key in board["axes"]]
    measures = [comparison_measure(board, 0)] if board["comparisons"] else []
    uprights += [_result_upright(measure) for measure in (*measures, metric_measure(board)) if measure.values]
    places = [round(100 * (number + 0.5) / len(uprights), 3) for number in range(len(uprights))]
    shades = _shades(rows)
    lines = [
        {
            "point": row["point"],
            "look": look(row, best),
            "shade": shades.get(row["point"]),
            "segments": _segments([(x, axis["y"].get(row["point"])) for x, axis in zip(places, uprights, strict=True)]),
        }
        for row in rows
    ]
    lines.reverse()  # of those of one state the better lie on top
    lines.sort(key=lambda line: LAYERS.index(line["look"]))
    return {"axes": [axis | {"x": x} for x, axis in zip(places, uprights, strict=True)], "lines": lines}


def scatter_plots(board: Mapping[str, Any], measure: Measure) -> list[dict[str, Any]]:
    """For each axis the values of a measure against it.

    Returns:
        Each with ``name``, ``note``, ``x_ticks``, ``y_ticks`` (place and label), ``tilted`` (whether the labels of x
        have no room side by side), ``gap`` (x or None) and ``points`` from back to front, each with ``point``,
        ``look``, ``x``, ``y``, and ``low`` and ``high`` (None without interval). Empty if no configuration has a value.
    """
    rows = [row for row in board["configurations"] if row["point"] in measure.values]
    if not rows:
        return []
    upright, best = measure.scale(), best_row(board)
    plots = []
    for key in board["axes"]:
        scale = _level_scale([row["settings"][key] for row in _by_point(board["configurations"])])
        points = [
            _point(row, best, scale.place(row["settings"][key]), measure, upright)
            for row in sorted(reversed(rows), key=lambda row: LAYERS.index(look(row, best)))
        ]
        plots.append(
            {
                "name": key,
                "note": _note(scale),
                "x_ticks": scale.ticks,
                "y_ticks": _flipped(upright),
                "tilted": scale.kind == "categories" and not _fits(scale),
                "gap": scale.gap,
                "points": points,
            }
        )
    return plots


def rank_plot(board: Mapping[str, Any]) -> dict[str, Any]:
    """The metric against the rank, as one of :func:`scatter_plots`: for more configurations than can be named."""
    measure, best = metric_measure(board), best_row(board)
    rows = [row for row in board["configurations"] if row["point"] in measure.values]
    level, upright = linear_scale([row["rank"] for row in rows]), measure.scale()
    return {
        "name": "rank",
        "note": "",
        "x_ticks": level.ticks,
        "y_ticks": _flipped(upright),
        "tilted": False,
        "gap": None,
        "points": [_point(row, best, level.place(row["rank"]), measure, upright) for row in reversed(rows)],
    }


def forest_plot(board: Mapping[str, Any]) -> dict[str, Any] | None:
    """The metric of each trained configuration with its interval; None if there is none.

    Returns:
        ``ticks`` (place and label), ``band`` (the best configuration's interval, or None) and ``rows`` in their order,
        each with ``row``, ``look``, ``value``, ``low``, ``high`` and ``seeds`` (the metric of each, if there are
        several), in percent of the width.
    """
    measure, best = metric_measure(board), best_row(board)
    shown = [row for row in board["configurations"] if row["point"] in measure.values]
    if not shown or best is None:
        return None
    by_seed = {
        row["point"]: [trial["metric"] for trial in row["trials"] if is_number(trial["metric"])] for row in shown
    }
    scale = linear_scale([*(value for values in by_seed.values() for value in values), *_ends(measure)])
    rows = []
    for row in shown:
        low, high = measure.intervals.get(row["point"], (None, None))
        seeds = by_seed[row["point"]]
        rows.append(
            {
                "row": row,
                "look": look(row, best),
                "value": scale.place(row["metric"]),
                "low": None if low is None else scale.place(low),
                "high": None if high is None else scale.place(high),
                "seeds": [scale.place(value) for value in seeds] if len(seeds) > 1 else [],
            }
        )
    first = next(row for row in rows if row["look"] == "best")
    band = None if first["low"] is None else (first["low"], first["high"])
    return {"ticks": scale.ticks, "band": band, "rows": rows}


def _by_point(rows: Sequence[Row]) -> list[Row]:
    # As the sweep file names them: in the order of ranks, categories would stand in another order each time.
    return sorted(rows, key=lambda row: int(row["point"]))


def _setting_upright(key: str, rows: Sequence[Row]) -> dict[str, Any]:
    values = {row["point"]: row["settings"][key] for row in _by_point(rows)}
    scale = make_scale([*values.values()], UPRIGHT_SPACING)
    return {
        "name": key,
        "note": _note(scale),
        "ticks": _flipped(scale),
        "gap": None if scale.gap is None else 100 - scale.gap,
        "result": False,
        "y": {point: 100 - scale.place(value) for point, value in values.items()},
    }


def _result_upright(measure: Measure) -> dict[str, Any]:
    scale = linear_scale(measure.values.values())
    ticks = [(tick.at, tick.label) for tick in scale.ticks] if measure.lower_is_better else _flipped(scale)
    places = {point: scale.place(value) for point, value in measure.values.items()}
    return {
        "name": measure.name,
        "note": measure.better,
        "ticks": ticks,
        "gap": None,
        "result": True,
        "y": {point: at if measure.lower_is_better else 100 - at for point, at in places.items()},  # the best on top
    }


def _segments(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    segments: list[list[tuple[float, float]]] = [[]]
    for x, y in points:
        if y is not None:
            segments[-1].append((x, round(y, 2)))
        elif segments[-1]:
            segments.append([])
    return [segment for segment in segments if segment]


def _shades(rows: Sequence[Row]) -> dict[int, int]:
    """By point the colour of its rank, among configurations that did not fail and have been compared or trained."""
    placed = [
        row["point"]
        for row in rows
        if row["state"] != "failed" and any(is_number(value) for value in (row["metric"], *row["at_comparisons"]))
    ]
    return {point: round((SHADES - 1) * rank / max(1, len(placed) - 1)) for rank, point in enumerate(placed)}


def _point(row: Row, best: Row | None, x: float, measure: Measure, scale: Scale) -> dict[str, Any]:
    low, high = measure.intervals.get(row["point"], (None, None))
    return {
        "point": row["point"],
        "look": look(row, best),
        "x": x,
        "y": round(100 - scale.place(measure.values[row["point"]]), 2),
        "low": None if low is None else round(100 - scale.place(low), 2),
        "high": None if high is None else round(100 - scale.place(high), 2),
    }


def _level_scale(values: Sequence[Any]) -> Scale:
    return make_scale(values, LEVEL_SPACING if all(is_number(value) for value in values) else TILTED_SPACING)


def _fits(scale: Scale) -> bool:
    longest = min(MAX_LABEL, max(len(tick.label) for tick in scale.ticks))
    return (longest + 1) * len(scale.ticks) <= LEVEL_CHARACTERS


def _flipped(scale: Scale) -> list[tuple[float, str]]:
    return [(round(100 - tick.at, 2), tick.label) for tick in scale.ticks]


def _note(scale: Scale) -> str:
    return {"linear": "", "log": "log scale", "categories": ""}[scale.kind]


def _ends(measure: Measure) -> list[float]:
    return [end for ends in measure.intervals.values() for end in ends] or [*measure.values.values()]
