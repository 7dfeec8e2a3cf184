"""METEOR 1.5, without Java."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from metrics.meteor.scorer import NUM_COUNTS, score, statistics, without_whole
from metrics.meteor.store import open_reader
from metrics.meteor.words import Reader
from metrics.scores.measurement import Measurement, MetricUnavailable, Wait

__all__ = [
    "METEOR",
    "METEOR_STATISTICS",
    "meteor_from_statistics",
    "meteor_statistics",
    "open_meteor",
    "without_whole",
]

METEOR_STATISTICS = NUM_COUNTS
meteor_from_statistics = score


def meteor_statistics(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> NDArray[np.int64]:
    """METEOR's counts, as :func:`metrics.meteor.scorer.statistics` gives them. Shape (N, 23).

    Raises:
        MetricUnavailable: If pycocoevalcap lacks one of METEOR's files, or it is damaged.
    """
    return statistics(references, hypotheses, open_meteor())


def open_meteor() -> Reader:
    """What METEOR knows, read once by each process.

    Raises:
        MetricUnavailable: If pycocoevalcap lacks one of METEOR's files, or it is damaged.
    """
    try:
        return open_reader()
    except (OSError, ValueError) as error:
        raise MetricUnavailable(str(error)) from error


@contextmanager
def _running(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> Iterator[Wait]:
    yield lambda: meteor_statistics(references, hypotheses)


METEOR = Measurement(
    "METEOR",
    ("METEOR",),
    _running,
    num_statistics=METEOR_STATISTICS,
    from_statistics=lambda totals: meteor_from_statistics(totals)[..., np.newaxis],
)
