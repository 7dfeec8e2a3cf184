"""COCO caption metrics over captions that are tokenised already."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.scores.bleu import bleu_from_statistics, bleu_statistics
from metrics.scores.cider import cider
from metrics.scores.examples import check_same_ids, first_five
from metrics.scores.java import MetricUnavailable
from metrics.scores.java_metrics import meteor_from_statistics, running_meteor, running_spice
from metrics.scores.rouge import rouge_l

METRIC_NAMES = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "SPICE")
"""pycocoevalcap's keys, in the order of its own tables."""

_BLEU_NAMES = METRIC_NAMES[:4]


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
    """What all metrics that are available come from: "BLEU" and "METEOR" statistics, shapes (N, 10) and (N, 23), that
    add up over examples, and of the others the metric itself, shape (N,)."""
    unavailable: dict[str, str]
    """Metric to the reason why it is None."""

    @cached_property
    def overall(self) -> dict[str, float | None]:
        """Corpus score by metric, None for those in ``unavailable``. CIDEr in [0, 10], others [0, 1]."""
        totals = {name: rows.sum(axis=0) if rows.ndim > 1 else rows.mean() for name, rows in self.measured.items()}
        found = _metrics_from(totals)
        return {name: float(found[name]) if name in found else None for name in self.metrics}

    @cached_property
    def per_example(self) -> dict[str, NDArray[np.float64]]:
        """Available metrics of each example alone (with the corpus's document frequencies). Shape (N,)."""
        found = _metrics_from(self.measured)
        return {name: found[name] for name in self.metrics if name in found}

    @property
    def bleu_statistics(self) -> NDArray[np.int64] | None:
        """As ``bleu.bleu_statistics`` gives them, shape (N, 10); None if BLEU was not asked for."""
        return self.measured.get("BLEU")

    @property
    def meteor_statistics(self) -> NDArray[np.int64] | None:
        """As ``java_metrics.running_meteor`` gives them, shape (N, 23); None if there is no METEOR."""
        return self.measured.get("METEOR")

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
        measured = {name: values[rows] for name, values in self.measured.items()}
        if "CIDEr" in measured:  # The document frequencies are those of the subset.
            measured["CIDEr"] = cider(references, hypotheses)
        return CaptionScores(tuple(ids), references, hypotheses, self.metrics, measured, self.unavailable)


def score_captions(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    *,
    metrics: Collection[str] = METRIC_NAMES,
) -> CaptionScores:
    """Score one caption per example as pycocoevalcap does.

    METEOR and SPICE are Java programs; where they cannot run, their values are None with a reason, and the others come
    out all the same. METEOR takes about ten seconds to start and SPICE longer, so ask for what is needed.

    CIDEr counts its document frequencies over the examples given here, so the CIDEr of a subset is not the mean over
    the subset of the whole; for a single example it is 0 by definition. An empty hypothesis scores 0 in every metric.

    Args:
        references: Human captions by example_id, at least one each, tokenised: words separated by spaces.
        hypotheses: The caption to score by example_id, tokenised; "" counts as empty.
        metrics: Which of ``METRIC_NAMES`` to compute.

    Returns:
        Scores overall and per example.

    Raises:
        ValueError: If a metric is unknown, the ids differ, there is no example, an example has no references, or no
            reference at all has a word.
    """
    unknown = sorted(set(metrics) - set(METRIC_NAMES))
    if unknown:
        raise ValueError(f"unknown metric {', '.join(unknown)}; there are {', '.join(METRIC_NAMES)}.")
    check_same_ids(references, hypotheses, "hypothesis")
    ids = tuple(references)
    reference_texts = tuple(tuple(map(_single_spaced, references[example_id])) for example_id in ids)
    hypothesis_texts = tuple(_single_spaced(hypotheses[example_id]) for example_id in ids)
    _check_references(ids, reference_texts)
    names = tuple(name for name in METRIC_NAMES if name in metrics)
    measured, unavailable = _measure(names, reference_texts, hypothesis_texts)
    return CaptionScores(ids, reference_texts, hypothesis_texts, names, measured, unavailable)


def _measure(
    names: Collection[str], references: Sequence[Sequence[str]], hypotheses: Sequence[str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The rows that all metrics come from, and the reasons for those that are missing."""
    wanted = {"BLEU" if name in _BLEU_NAMES else name for name in names}
    measured: dict[str, NDArray[Any]] = {}
    unavailable: dict[str, str] = {}
    with ExitStack() as running:
        waiting: dict[str, Callable[[], NDArray[Any]]] = {}
        for name, run in {"METEOR": running_meteor, "SPICE": running_spice}.items():
            if name in wanted:
                with _noting(name, unavailable):
                    waiting[name] = running.enter_context(run(references, hypotheses))
        for name, measure in {"BLEU": bleu_statistics, "ROUGE_L": rouge_l, "CIDEr": cider}.items():
            if name in wanted:
                measured[name] = measure(references, hypotheses)
        for name, wait in waiting.items():
            with _noting(name, unavailable):
                measured[name] = wait()
    return measured, unavailable


@contextmanager
def _noting(name: str, unavailable: dict[str, str]) -> Iterator[None]:
    try:
        yield
    except MetricUnavailable as error:
        unavailable[name] = str(error)


def _metrics_from(rows: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Metrics from what was measured, of each example or of the whole."""
    found = {name: values for name, values in rows.items() if name not in ("BLEU", "METEOR")}
    if "BLEU" in rows:
        found |= zip(_BLEU_NAMES, np.moveaxis(bleu_from_statistics(rows["BLEU"]), -1, 0), strict=True)
    if "METEOR" in rows:
        found["METEOR"] = meteor_from_statistics(rows["METEOR"])
    return found


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
