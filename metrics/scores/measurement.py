"""How metrics come about, so that whoever computes them needs to know none by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from metrics.scores.document_frequency import DocumentFrequency

Wait = Callable[[], NDArray[Any]]
"""Gives the rows that were measured, a row for each example."""
Run = Callable[[Sequence[Sequence[str]], Sequence[str]], AbstractContextManager[Wait]]
"""Starts measuring, see :attr:`Measurement.run`."""


class MetricUnavailable(Exception):
    """A metric cannot be computed here; the message says why and what to do."""


@dataclass(frozen=True)
class Measurement:
    """One pass over captions, and the metrics that follow from it.

    Attributes:
        name: Of the pass; where it counts statistics they stand in results files, see :attr:`statistics_key`.
        metrics: What it gives.
        run: Starts on tokenised references (of each example, at least one each) and hypotheses; the context yields a
            function that waits for the rows. Raises ``MetricUnavailable`` where it cannot run.
        num_statistics: Statistics of an example, which add up over examples; 0 if the rows are the metric, shape (N,),
            and a corpus has their mean.
        from_statistics: Statistics, or sums of them, to metrics: shape (..., num_statistics) to (..., metrics).
        depends_on_corpus: Whether the number of an example depends on the others, so that some of them alone must be
            measured anew.
        runs_beside: Whether it is a program of its own, to be waited for last.
        weighed_by: The same with the document frequencies of another corpus; None if it counts none.
    """

    name: str
    metrics: tuple[str, ...]
    run: Run
    num_statistics: int = 0
    from_statistics: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None
    depends_on_corpus: bool = False
    runs_beside: bool = False
    weighed_by: Callable[[DocumentFrequency], Measurement] | None = None

    def __post_init__(self) -> None:
        # Statistics taken for a metric would be averaged without a word.
        assert (self.num_statistics > 0) == (self.from_statistics is not None), f"{self.name}: give both or neither"
        assert self.num_statistics or len(self.metrics) == 1, f"{self.name}: several metrics come from statistics only"

    @property
    def statistics_key(self) -> str:
        """Under what its statistics stand in ``per_image`` of results files."""
        return f"{self.name.lower()}_statistics"

    def to_metrics(self, rows: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Metrics by name, of each example or, from sums or means, of the whole; shape without the last axis."""
        if self.from_statistics is None:
            (name,) = self.metrics
            return {name: rows}
        return dict(zip(self.metrics, np.moveaxis(self.from_statistics(rows), -1, 0), strict=True))

    def total(self, rows: NDArray[Any]) -> NDArray[Any]:
        """What a corpus has of the rows of its examples: their sum, or their mean."""
        return np.asarray(rows.sum(axis=0) if self.num_statistics else rows.mean())


def at_once(measure: Callable[[Sequence[Sequence[str]], Sequence[str]], NDArray[Any]]) -> Run:
    """A ``run`` that measures when it is waited for."""

    @contextmanager
    def run(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> Iterator[Wait]:
        yield lambda: measure(references, hypotheses)

    return run


def given(rows: NDArray[Any] | str) -> Run:
    """A ``run`` that gives what was measured elsewhere, or tells why there is nothing."""

    @contextmanager
    def run(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> Iterator[Wait]:
        if isinstance(rows, str):
            raise MetricUnavailable(rows)
        assert len(rows) == len(hypotheses), f"{len(rows)} rows for {len(hypotheses)} captions"
        yield lambda: rows

    return run
