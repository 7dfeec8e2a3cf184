"""COCO caption metrics over captions that are tokenised already."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.scores.document_frequency import DocumentFrequency
from metrics.scores.examples import check_same_ids, first_five
from metrics.scores.measurement import Measurement, MetricUnavailable, Wait, given
from metrics.table import METEORS, METRICS, TEXT_METRICS, measurements_of


@dataclass(frozen=True, eq=False)
class CaptionScores:
    """What ``score_captions`` found. The rows of every array follow ``ids``."""

    ids: tuple[str, ...]
    """The example_ids, in the order of the references."""
    references: tuple[tuple[str, ...], ...]
    hypotheses: tuple[str, ...]
    metrics: tuple[str, ...]
    """The metrics asked for."""
    measured: dict[str, NDArray[Any]]
    """By name of the measurement the rows that its metrics come from: statistics that add up over examples, shape
    (N, S), or the metric itself, shape (N,)."""
    unavailable: dict[str, str]
    """Metric to the reason why it is None."""
    document_frequency: DocumentFrequency | None = None
    """Of another corpus, if CIDEr is weighed by one."""

    @cached_property
    def overall(self) -> dict[str, float | None]:
        """Corpus score by metric, None for those in ``unavailable``, each on the scale of ``metrics.table``."""
        found: dict[str, NDArray[np.float64]] = {}
        for measurement in self._available():
            found |= measurement.to_metrics(measurement.total(self.measured[measurement.name]))
        return {name: float(found[name]) if name in found else None for name in self.metrics}

    @cached_property
    def per_example(self) -> dict[str, NDArray[np.float64]]:
        """Available metrics of each example alone (with the corpus's document frequencies). Shape (N,)."""
        found: dict[str, NDArray[np.float64]] = {}
        for measurement in self._available():
            found |= measurement.to_metrics(self.measured[measurement.name])
        return {name: found[name] for name in self.metrics if name in found}

    @property
    def statistics(self) -> dict[str, NDArray[Any]]:
        """By name of the measurement the statistics of each example, where they are what a corpus score comes from."""
        return {m.name: self.measured[m.name] for m in self._available() if m.num_statistics}

    def _available(self) -> list[Measurement]:
        known = _measurements(self.metrics, self.document_frequency)
        return [measurement for measurement in known if measurement.name in self.measured]

    def subset(self, ids: Sequence[str]) -> CaptionScores:
        """What ``score_captions`` gives for some of the examples alone, without running Java again.

        Args:
            ids: The example_ids to keep, each once.

        Raises:
            ValueError: If an id is unknown or comes twice, there is none, or no reference of theirs has a word.
        """
        places = {example_id: row for row, example_id in enumerate(self.ids)}
        unknown = [example_id for example_id in ids if example_id not in places]
        if unknown or len(set(ids)) < len(ids):
            raise ValueError(
                f"{len(unknown)} of {len(ids)} ids were not scored ({first_five(unknown)}), or some come twice."
            )
        rows = [places[example_id] for example_id in ids]
        references = tuple(self.references[row] for row in rows)
        hypotheses = tuple(self.hypotheses[row] for row in rows)
        _check_references(ids, references)
        kept = {m.name: self.measured[m.name][rows] for m in self._available() if not m.depends_on_corpus}
        others = {name for m in self._available() if m.depends_on_corpus for name in m.metrics}
        again = [name for name in self.metrics if name in others]
        anew, unavailable = _measure(again, references, hypotheses, self.document_frequency)
        reasons = self.unavailable | unavailable
        measured = kept | anew
        return CaptionScores(
            tuple(ids), references, hypotheses, self.metrics, measured, reasons, self.document_frequency
        )


def score_captions(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    *,
    metrics: Collection[str] = TEXT_METRICS,
    document_frequency: DocumentFrequency | None = None,
    meteor: str = "python",
    beside: Mapping[str, NDArray[Any] | str] = MappingProxyType({}),
) -> CaptionScores:
    """Score one caption per example as pycocoevalcap does.

    SPICE is a Java program and METEOR needs files of pycocoevalcap; where they cannot run, their values are None with a
    reason, and the others come out all the same. SPICE takes long to start, so ask for what is needed.

    CIDEr counts its document frequencies over the examples given here, so the CIDEr of a subset is not the mean over
    the subset of the whole; for a single example there is none. An empty hypothesis scores 0 in every metric.

    Args:
        references: Human captions by example_id, at least one each, tokenised: words separated by spaces.
        hypotheses: The caption to score by example_id, tokenised; "" counts as empty.
        metrics: Which of ``metrics.table.METRICS`` to compute.
        document_frequency: Of another corpus, tokenised alike, to weigh CIDEr with in place of these references.
        meteor: Which of ``metrics.table.METEORS`` computes METEOR.
        beside: By name of the measurement what was measured from more than tokenised captions, such as pictures: its
            rows, in the order of the references, or why there are none.

    Returns:
        Scores overall and per example.

    Raises:
        ValueError: If a metric is unknown, the ids differ, there is no example, an example has no references, or no
            reference at all has a word.
    """
    if meteor not in METEORS:
        raise ValueError(f"unknown METEOR {meteor!r}; there are {', '.join(METEORS)}.")
    unknown = sorted(set(metrics) - set(METRICS))
    if unknown:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {', '.join(METRICS)}.")
    check_same_ids(references, hypotheses, "hypothesis")
    ids = tuple(references)
    reference_texts = tuple(tuple(map(_single_spaced, references[example_id])) for example_id in ids)
    hypothesis_texts = tuple(_single_spaced(hypotheses[example_id]) for example_id in ids)
    _check_references(ids, reference_texts)
    names = tuple(name for name in METRICS if name in metrics)
    measured, unavailable = _measure(names, reference_texts, hypothesis_texts, document_frequency, meteor, beside)
    return CaptionScores(ids, reference_texts, hypothesis_texts, names, measured, unavailable, document_frequency)


def _measurements(
    names: Collection[str], document_frequency: DocumentFrequency | None, meteor: str = "python"
) -> list[Measurement]:
    found = measurements_of(names, meteor=meteor)
    if document_frequency is None:
        return found
    return [each if each.weighed_by is None else each.weighed_by(document_frequency) for each in found]


def _measure(
    names: Collection[str],
    references: Sequence[Sequence[str]],
    hypotheses: Sequence[str],
    document_frequency: DocumentFrequency | None,
    meteor: str = "python",
    beside: Mapping[str, NDArray[Any] | str] = MappingProxyType({}),
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The rows that all metrics come from, and the reasons for those that are missing."""
    measured: dict[str, NDArray[Any]] = {}
    unavailable: dict[str, str] = {}
    with ExitStack() as running:
        waiting: list[tuple[Measurement, Wait]] = []
        for measurement in _measurements(names, document_frequency, meteor):
            run = given(beside[measurement.name]) if measurement.name in beside else measurement.run
            with _noting(measurement, names, unavailable):
                waiting.append((measurement, running.enter_context(run(references, hypotheses))))
        # Other programs work meanwhile.
        for measurement, wait in sorted(waiting, key=lambda pair: pair[0].runs_beside):
            with _noting(measurement, names, unavailable):
                measured[measurement.name] = wait()
    return measured, unavailable


@contextmanager
def _noting(measurement: Measurement, names: Collection[str], unavailable: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except MetricUnavailable as error:
        unavailable |= {name: str(error) for name in measurement.metrics if name in names}


def _single_spaced(text: str) -> str:
    # Other white space stays: the PTB tokenizer puts a no-break space into "1 1/2", one word for ROUGE-L, two for BLEU.
    return " ".join([word for word in text.split(" ") if word])


def _check_references(ids: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not ids:
        raise ValueError("no examples to score: references and hypotheses are empty.")
    bare = [example_id for example_id, texts in zip(ids, references, strict=True) if not texts]
    if bare:
        raise ValueError(f"{len(bare)} examples have an empty list of references ({first_five(bare)}); leave them out.")
    if not any(text for texts in references for text in texts):
        raise ValueError(f"none of the {len(ids)} examples has a reference with a word in it; check the captions.")
