"""Where a value stands on an axis: linear, logarithmic (with a place for 0), or one place for each category."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, TypeGuard

from reports.ticks import ticks
from utils.io import encode_json

LOG_RATIO = 20.0
"""Numbers above 0 whose largest is so many times the smallest stand on a log scale."""
ZERO_FOOT = 16.0
"""Percent of an axis under its log part, where there are zeros too; they stand at its foot."""
MARGIN = 0.05
"""Share of a scale left free on either side of the values."""
MAX_OWN_TICKS = 6
"""Up to so many different numbers are the ticks themselves."""
MAX_LOG_TICKS = 6


class Tick(NamedTuple):
    """A mark on an axis."""

    at: float
    """Percent of the axis from its lower end."""
    label: str


@dataclass(frozen=True)
class Scale:
    """Places on an axis, in percent of its length from its lower end."""

    kind: Literal["linear", "log", "categories"]
    low: float = 0.0
    """Of the axis; on a log scale the logarithm to base 10."""
    high: float = 1.0
    foot: float = 0.0
    """Where the log part begins; below it there is room for 0 and a gap."""
    order: tuple[str, ...] = ()
    """Categories as JSON, from the lower end."""
    ticks: tuple[Tick, ...] = ()

    @property
    def gap(self) -> float | None:
        """Where the axis is broken between 0 and the log part; None if it is not."""
        return self.foot / 2 if self.foot else None

    def place(self, value: Any) -> float:
        """Place of a value that the scale was made for."""
        if self.kind == "categories":
            return round(100 * (self.order.index(identity(value)) + 0.5) / len(self.order), 2)
        if self.kind == "log" and value == 0:
            return 0.0
        position = math.log10(value) if self.kind == "log" else value
        return round(self.foot + (100 - self.foot) * (position - self.low) / (self.high - self.low), 2)


def make_scale(values: Sequence[Any], spacing: float) -> Scale:
    """The scale that suits some values: numbers, or anything else JSON-like as categories.

    Args:
        values: What has to find its place; at least one. Categories stand in the order of their first appearance, but
            null first, then false and true, then numbers by size.
        spacing: Percent of the axis that two labels at least are apart.
    """
    if not all(is_number(value) for value in values):
        return _category_scale(values, spacing)
    numbers = sorted({float(value) for value in values})
    positive = [number for number in numbers if number > 0]
    if numbers[0] >= 0 and positive and positive[-1] / positive[0] >= LOG_RATIO:
        scale = _log_scale(positive, ZERO_FOOT if numbers[0] == 0 else 0.0)
    else:
        scale = linear_scale(numbers, MARGIN)
    places = [scale.place(number) for number in numbers]
    apart = min((after - before for before, after in zip(places, places[1:], strict=False)), default=100.0)
    if len(numbers) <= MAX_OWN_TICKS and apart >= spacing:
        return replace(scale, ticks=tuple(Tick(scale.place(number), compact(number)) for number in numbers))
    return scale


def linear_scale(values: Iterable[float], margin: float | None = None) -> Scale:
    """A linear scale that ends on round numbers, or at some distance from the values.

    Args:
        values: At least one.
        margin: Share of their range left free on either side; None for ends on round numbers.
    """
    numbers = sorted(float(value) for value in values)
    low, high = numbers[0], numbers[-1]
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # a single value, but for rounding: in the middle
        reach = abs(low) or 1.0
        scale = Scale("linear", low - reach, low + reach)
        return replace(scale, ticks=(Tick(scale.place(low), compact(low)),))
    if margin is None:
        marks = _whole(ticks(low, high), numbers)
        scale = Scale("linear", min(low, marks[0]), max(high, marks[-1]))
    else:
        scale = Scale("linear", low - margin * (high - low), high + margin * (high - low))
        marks = _whole(_ticks_between(scale.low, scale.high), numbers)
    labels = _alike([compact(mark) for mark in marks])
    named = zip(marks, labels, strict=True)
    return replace(scale, ticks=tuple(Tick(scale.place(mark), label) for mark, label in named))


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def compact(number: float) -> str:
    """A number with at most six digits: 0.00208, 1e-5."""
    mantissa, letter, exponent = f"{number:.6g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if letter else mantissa


def show(value: Any) -> str:
    """A value of an axis as text; strings without quotation marks."""
    if isinstance(value, str):
        return value
    return compact(value) if is_number(value) else encode_json(value).decode()


def identity(value: Any) -> str:
    """What tells categories apart: 1 is not "1"."""
    return encode_json(value).decode()


def shorten(text: str, limit: int) -> str:
    """A text of at most ``limit`` characters, cut in its middle: paths and names differ at either end."""
    if len(text) <= limit:
        return text
    head = limit // 2
    return f"{text[:head]}…{text[len(text) - (limit - head - 1) :]}"


def _ticks_between(low: float, high: float) -> list[float]:
    for count in (5, 10):  # where the ends are far from round numbers, few of the first five lie between them
        marks = [mark for mark in ticks(low, high, count) if low <= mark <= high]
        if len(marks) > 2:
            break
    return marks


def _whole(marks: Sequence[float], numbers: Sequence[float]) -> list[float]:
    """Without those such as 1.5 if all numbers are whole."""
    whole = all(number.is_integer() for number in numbers)
    return [mark for mark in marks if mark.is_integer() or not whole]


def _alike(labels: Sequence[str]) -> list[str]:
    """All with as many decimals as the one with the most; 0 stays as it is."""
    decimals = max(len(label.partition(".")[2]) for label in labels)
    if any("e" in label for label in labels):
        return [*labels]
    return [label if label == "0" else f"{float(label):.{decimals}f}" for label in labels]


def _log_scale(positive: Sequence[float], foot: float) -> Scale:
    low, high = math.log10(positive[0]), math.log10(positive[-1])
    margin = MARGIN * (high - low)
    scale = Scale("log", low - margin, high + margin, foot)
    marks = tuple(Tick(scale.place(mark), compact(mark)) for mark in _log_ticks(scale.low, scale.high))
    return replace(scale, ticks=(Tick(0.0, "0"), *marks) if foot else marks)


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; where there are but few between the ends (logarithms), numbers between them too."""
    powers = range(math.ceil(low), math.floor(high) + 1)
    if len(powers) > 2:
        return [10.0**power for power in powers[:: math.ceil(len(powers) / MAX_LOG_TICKS)]]
    factors = (1, 3) if len(powers) == 2 else (1, 2, 5)
    marks = [factor * 10.0**power for power in range(math.floor(low), math.ceil(high)) for factor in factors]
    return [mark for mark in [*marks, 10.0 ** math.ceil(high)] if low <= math.log10(mark) <= high]


def _category_scale(values: Sequence[Any], spacing: float) -> Scale:
    known = {identity(value): value for value in values}
    first = {name: number for number, name in enumerate(known)}

    def order(name: str) -> tuple[int, float]:
        value = known[name]
        if value is None or isinstance(value, bool):
            return (0, -1.0) if value is None else (0, float(value))
        return (1, value) if is_number(value) else (2, first[name])

    scale = Scale("categories", order=tuple(sorted(known, key=order)))
    every = math.ceil(spacing * len(known) / 100)  # of so many labels there is room for one
    return replace(
        scale,
        ticks=tuple(Tick(scale.place(known[name]), show(known[name])) for name in scale.order[::every]),
    )
