"""What a sweep says about one axis, in a line, and no more than its few trials allow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from reports.sweep.measures import Measure
from reports.sweep.scales import compact, identity, is_number, shorten, show

LEVEL = 0.05
"""P-value above which there is no clear trend."""
MAX_EXACT = 8
"""Up to so many configurations the p-value is counted over all their orders: the usual formula says 0 for a perfect
order of three, which chance brings in one of three sweeps."""
FEW = 30
"""Fewer than this are so few."""
MIN_FOR_RANGE = 8
"""From so many on, the range of the best quarter is told: a best value between two bad ends has no rank correlation."""
MAX_GROUPS = 4
"""Of the categories' means so many are told."""
MAX_NAME = 24
"""Characters of a category's name."""


class Correlation(NamedTuple):
    """Spearman's rank correlation."""

    value: float
    """In [-1, 1]."""
    n: int
    p: float
    """Two-sided."""


def describe_trend(settings: Mapping[int, Any], measure: Measure) -> str:
    """Which end of an axis did better, or which of its categories, in words.

    Args:
        settings: By point the value on the axis.
        measure: What the configurations are compared by; those without a value are left out.
    """
    points = [point for point in settings if point in measure.values]
    numeric = all(is_number(value) for value in settings.values())
    if len({settings[point] if numeric else identity(settings[point]) for point in points}) < 2:
        return f"one value only (n = {len(points)}): nothing to compare"
    if not numeric:
        return _describe_groups([(settings[point], measure.values[point]) for point in points], measure)
    found = rank_correlation([settings[point] for point in points], [measure.values[point] for point in points])
    if found is None:
        return f"n = {len(points)}: too few different results to tell"
    numbers = f"n = {found.n}, p {_p_text(found.p)}"
    correlation = f"rank correlation {found.value:+.2f}".replace("-", "−")
    if found.p > LEVEL:
        reading = f"no clear trend{' in so few trials' if found.n < FEW else ''} ({correlation}, {numbers})"
    else:
        better = "lower" if (found.value > 0) == measure.lower_is_better else "higher"
        reading = f"{correlation} ({numbers}): {better} values did better"
    return reading + _describe_best(settings, points, measure)


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> Correlation | None:
    """Spearman's rank correlation; None for fewer than three pairs, or where one side is all the same.

    Args:
        first: As many numbers as in ``second``.
        second: Of equal numbers each gets their mean rank.
    """
    if len(first) < 3 or len({*first}) < 2 or len({*second}) < 2:
        return None
    from scipy.stats import rankdata, spearmanr

    result = spearmanr(first, second)
    value, p = float(result.statistic), float(result.pvalue)
    if len(first) <= MAX_EXACT:
        p = _exact_p(rankdata(first).tolist(), rankdata(second).tolist())
    return Correlation(value, len(first), p)


def _exact_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Share of all orders of ``second`` whose correlation is as far from 0; both are ranks."""
    centre = fmean(first)
    weights = [rank - centre for rank in first]
    found = abs(_product(weights, second))
    orders = [abs(_product(weights, order)) >= found - 1e-9 for order in itertools.permutations(second)]
    return sum(orders) / len(orders)


def _product(first: Sequence[float], second: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(first, second, strict=True))


def _describe_best(settings: Mapping[int, Any], points: Sequence[int], measure: Measure) -> str:
    if len(points) < MIN_FOR_RANGE:
        return ""
    ranked = sorted(points, key=lambda point: measure.values[point], reverse=not measure.lower_is_better)
    values = [settings[point] for point in ranked[: math.ceil(len(ranked) / 4)]]
    low, high = min(values), max(values)
    if (low, high) == (min(settings[point] for point in points), max(settings[point] for point in points)):
        where = "spread over the whole range"
    else:
        where = f"all at {compact(low)}" if low == high else f"between {compact(low)} and {compact(high)}"
    return f"; the best {len(values)} are {where}"


def _describe_groups(pairs: Sequence[tuple[Any, float]], measure: Measure) -> str:
    groups: dict[str, list[float]] = {}
    for value, result in pairs:
        groups.setdefault(identity(value), []).append(result)
    names = {identity(value): shorten(show(value), MAX_NAME) for value, _ in pairs}
    means = sorted(((fmean(results), key) for key, results in groups.items()), reverse=not measure.lower_is_better)
    told = [f"{names[key]} {mean:.3f} (n = {len(groups[key])})" for mean, key in means[:MAX_GROUPS]]
    more = f" and {len(means) - MAX_GROUPS} more" if len(means) > MAX_GROUPS else ""
    return f"means, the best first: {', '.join(told)}{more}"


def _p_text(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {compact(float(f'{p:.2g}'))}"
