"""Numbers on the axes of charts."""

from __future__ import annotations

import math

ROUNDING = 1e-9
"""Share of a step that is taken for an error of floating-point numbers: 1e-5 / 5 is more than 2e-6."""


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About ``count`` round numbers in steps of 1, 2 or 5 times a power of ten; the first <= low, the last >= high."""
    if high <= low:
        high = low + 1
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - ROUNDING))
    first, last = math.floor(low / step + ROUNDING), math.ceil(high / step - ROUNDING)
    decimals = 1 - math.floor(math.log10(step))  # of the step and one more: 3 * 0.1 is 0.30000000000000004
    return [round(tick * step, decimals) for tick in range(first, last + 1)]
