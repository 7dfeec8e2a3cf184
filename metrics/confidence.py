"""How sure a score is, and a difference of scores: resampling of what each image adds to every metric."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.table import measurements_of

if TYPE_CHECKING:
    from metrics.coco import CaptionScores
    from metrics.scores.measurement import Measurement

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

CHUNK_CELLS = 2**20
"""Most entries of a (resamples, images) matrix that exist at once; 8 MiB each."""

LEVEL = 0.95
"""Share of the resamples inside an interval."""

ROUNDING = 1e-12
"""Differences that are equal but for the order of summation differ by less; the metrics are in [0, 10]."""


@dataclass(frozen=True)
class ImageSums:
    """What each image adds to every metric, as columns whose sum over any images gives the metrics of these images.

    BLEU and METEOR of a corpus are functions of summed statistics, the other metrics are means over examples. CIDEr's
    document frequencies stay those of the whole corpus.
    """

    names: tuple[str, ...]
    """The metrics, in the order they were given."""
    columns: FloatArray
    """Number of examples, sums of the metrics that are means, then the statistics of each measurement that counts them,
    in the order of the table. Shape (images, C)."""

    @classmethod
    def from_examples(
        cls,
        images: Sequence[str],
        per_example: Mapping[str, FloatArray],
        statistics: Mapping[str, FloatArray | IntArray] = MappingProxyType({}),
    ) -> ImageSums:
        """Add up the examples of each image.

        Args:
            images: Image of each example; examples of one image (its styles) are never drawn apart.
            per_example: Values by metric. Shape (N,) each.
            statistics: By name of the measurement, for those of these metrics that come from statistics. Shape (N, S).
        """
        means, counted = _split(per_example)
        parts: list[FloatArray | IntArray] = [np.ones(len(images)), *(per_example[name] for name in means)]
        parts += [statistics[measurement.name] for measurement in counted]
        examples = np.column_stack(parts).astype(np.float64)
        # Sorted, so that the order of the examples has no influence on what is drawn.
        rows = {image: row for row, image in enumerate(sorted(set(images)))}
        columns = np.zeros((len(rows), examples.shape[1]))
        np.add.at(columns, [rows[image] for image in images], examples)
        return cls(tuple(per_example), columns)

    def metrics(self, totals: FloatArray) -> dict[str, FloatArray]:
        """Metrics of sets of images from their summed columns. Shape (..., C) to (...) for each metric."""
        means, counted = _split(self.names)
        found = {name: totals[..., 1 + column] / totals[..., 0] for column, name in enumerate(means)}
        rest = totals[..., 1 + len(means) :]
        for measurement in counted:
            found |= measurement.to_metrics(rest[..., : measurement.num_statistics])
            rest = rest[..., measurement.num_statistics :]
        return {name: found[name] for name in self.names}


def bootstrap_intervals(
    scores: CaptionScores,
    images: Mapping[str, str],
    *,
    resamples: int = 1000,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Percentile bootstrap intervals of corpus metrics over images.

    As many images as there are get drawn with replacement; all examples of an image (its styles) come along, since
    their scores are not independent. CIDEr's document frequencies are those of the whole corpus in every resample.

    Args:
        scores: What ``score_captions`` gave.
        images: Image by example_id; may hold other examples as well.
        resamples: How often to draw, > 0.
        level: Share of the resamples inside the interval, in (0, 1).
        seed: Of the draws; the same numbers come out whatever the order of the examples.

    Returns:
        [low, high] for each metric that is available.

    Raises:
        ValueError: If there is only one image: its spread is unknown, which is not the same as an interval of width 0.

    Source:
        Efron 1979, "Bootstrap methods: another look at the jackknife"; for BLEU: Koehn 2004, "Statistical significance
        tests for machine translation evaluation".
    """
    sums = ImageSums.from_examples(
        [images[example_id] for example_id in scores.ids],
        scores.per_example,
        scores.statistics,
    )
    totals = _bootstrap_totals(sums.columns, resamples, np.random.default_rng(seed))
    return {name: list(_percentile_interval(values, level)) for name, values in sums.metrics(totals).items()}


class PairedTest(NamedTuple):
    """Two captioners in one metric."""

    a: float
    b: float
    difference: float
    """b - a."""
    low: float
    high: float
    p: float


def paired_tests(a: ImageSums, b: ImageSums, *, resamples: int = 10_000, seed: int = 0) -> dict[str, PairedTest]:
    """Test for each metric whether two captioners differ.

    p is that of approximate randomisation: if the captioners were alike, swapping their captions of any images would
    change nothing, so p is how often a random swap makes the difference at least as large, up or down. The interval
    of the difference is a percentile bootstrap (``LEVEL``) over images, the same draws for both.

    Args:
        a: One captioner's images.
        b: The other's, in the same order and with the same metrics.
        resamples: How often to draw for p, and again for the interval; p is at least 1 / (resamples + 1).
        seed: Of the draws.

    Raises:
        ValueError: If there is only one image.

    Source:
        Noreen 1989, "Computer-intensive methods for testing hypotheses"; for corpus metrics: Riezler and Maxwell 2005,
        "On some pitfalls in automatic evaluation and significance testing for MT".
    """
    scores_a, scores_b = a.metrics(a.columns.sum(axis=0)), b.metrics(b.columns.sum(axis=0))
    as_large = _count_as_large(a, b, resamples, np.random.default_rng(seed))
    totals = _bootstrap_totals(np.hstack([a.columns, b.columns]), resamples, np.random.default_rng(seed))
    totals_a, totals_b = np.hsplit(totals, 2)
    drawn = _subtract(b.metrics(totals_b), a.metrics(totals_a))
    return {
        name: PairedTest(
            float(scores_a[name]),
            float(scores_b[name]),
            float(scores_b[name] - scores_a[name]),
            *_percentile_interval(drawn[name], LEVEL),
            (as_large[name] + 1) / (resamples + 1),
        )
        for name in a.names
    }


def _count_as_large(a: ImageSums, b: ImageSums, resamples: int, generator: np.random.Generator) -> dict[str, int]:
    """How many random swaps of images between the two make a difference at least as large as the real one."""
    total_a, total_b, step = a.columns.sum(axis=0), b.columns.sum(axis=0), b.columns - a.columns
    real = _subtract(b.metrics(total_b), a.metrics(total_a))
    counts = dict.fromkeys(a.names, 0)
    for rows in _chunk_sizes(resamples, len(step)):
        swapped = generator.integers(2, size=(rows, len(step)), dtype=np.uint8)
        moved = swapped.astype(np.float64) @ step
        drawn = _subtract(b.metrics(total_b - moved), a.metrics(total_a + moved))
        for name in counts:
            counts[name] += int(np.sum(np.abs(drawn[name]) >= np.abs(real[name]) - ROUNDING))
    return counts


def _subtract(b: Mapping[str, FloatArray], a: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {name: b[name] - a[name] for name in b}


def _bootstrap_totals(columns: FloatArray, resamples: int, generator: np.random.Generator) -> FloatArray:
    """Sums over images that are drawn with replacement. Shape (images, C) to (resamples, C).

    Raises:
        ValueError: If there are fewer than two images.
    """
    count = len(columns)
    if count < 2:
        raise ValueError("only one image: how far a score would move with other images cannot be told")
    totals = [
        _draw_counts(rows, count, generator).astype(np.float64) @ columns for rows in _chunk_sizes(resamples, count)
    ]
    return np.concatenate(totals)


def _chunk_sizes(resamples: int, images: int) -> Iterator[int]:
    """Numbers of resamples to work on at once: they add up to ``resamples`` and keep memory bounded."""
    most = max(1, CHUNK_CELLS // images)
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _percentile_interval(values: FloatArray, level: float) -> tuple[float, float]:
    """The (low, high) that hold the middle ``level`` of the values. Shape (resamples,)."""
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _draw_counts(resamples: int, images: int, generator: np.random.Generator) -> IntArray:
    """How often each image was drawn. Shape (resamples, images); every row sums to ``images``."""
    drawn = generator.integers(images, size=(resamples, images))
    drawn += images * np.arange(resamples)[:, np.newaxis]  # One bincount for all rows: each has numbers of its own.
    return np.bincount(drawn.ravel(), minlength=resamples * images).reshape(resamples, images)


def _split(names: Collection[str]) -> tuple[list[str], list[Measurement]]:
    """The metrics that are means over examples, in the order given, and the measurements that the others come from."""
    counted = [measurement for measurement in measurements_of(names) if measurement.num_statistics]
    from_counts = {name for measurement in counted for name in measurement.metrics}
    return [name for name in names if name not in from_counts], counted
