"""How fast a run trains and when it is done, from the times in its ``metrics.jsonl``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from runs.metrics_log import MetricsRow
from utils.trees import find_at, get_number

NEWEST = 9
"""Stretches between log entries that captions per second are a median of: one that was disturbed does not count."""
CLOCK = 1.0
"""Seconds that the time of a start is coarse by."""


@dataclass(frozen=True)
class Pace:
    """Of the newest start."""

    seconds_per_step: float
    """Validations and checkpoints included."""
    captions_per_second: float | None
    """While it trains; None if no stretch is without a validation."""
    done_at: float | None
    """When the last step is expected, seconds since 1970; None where the number of steps is not known."""


def measure_pace(
    rows: Sequence[MetricsRow], started: float, max_steps: int | None, captions_per_step: float | None
) -> Pace | None:
    """The pace of a run; None before two entries since its start have told their times.

    Args:
        rows: By step.
        started: Of the newest start, seconds since 1970: the time between two starts is no training.
        max_steps: Optimizer steps of the whole run.
        captions_per_step: That an optimizer step trains on, over all processes.
    """
    timed = [(row, time) for row in rows if (time := row.numbers.get("time")) is not None and time >= started - CLOCK]
    if len(timed) < 2 or timed[-1][1] <= timed[0][1]:
        return None
    (first, began), (last, now) = timed[0], timed[-1]
    seconds = (now - began) / (last.step - first.step)
    left = None if max_steps is None else max(0, max_steps - last.step)
    trained = [
        (after[0].step - before[0].step) / (after[1] - before[1])
        for before, after in zip(timed, timed[1:], strict=False)
        if after[1] > before[1] and not any(name.startswith("val/") for name in after[0].numbers)
    ]
    per_second = captions_per_step * median(trained[-NEWEST:]) if trained and captions_per_step else None
    return Pace(seconds, per_second, None if left is None else now + left * seconds)


def captions_in_step(config: Mapping[str, Any], processes: int, rows: Sequence[MetricsRow]) -> float | None:
    """Captions that an optimizer step trains on: drawn ones where they are drawn, both of a pair. None = not known.

    Args:
        config: Of the run.
        processes: That train together.
        rows: Of its ``metrics.jsonl``; they tell where a row has several captions.
    """
    if find_at(config, "train.batch_size") == "auto":
        pictures = get_number(config, "train.global_batch_size")
    else:
        pictures = get_number(config, "train.batch_size")
        pictures = None if pictures is None else pictures * processes
    if pictures is None:
        return None
    if find_at(config, "scst.enabled"):
        each = get_number(config, "scst.num_samples") or 1.0
    elif find_at(config, "preference.enabled"):
        each = 2.0 if find_at(config, "preference.pairs") else get_number(config, "preference.num_samples") or 1.0
    else:
        told = [count for row in rows if (count := row.numbers.get("train/captions_per_row"))]
        each = told[-1] if told else 1.0
    return pictures * (get_number(config, "train.accumulation_steps") or 1.0) * each


def seconds_of(time: str | None) -> float:
    """An ISO 8601 time as seconds since 1970; 0 for what is none."""
    try:
        return datetime.fromisoformat(time or "").timestamp()
    except ValueError:
        return 0.0
