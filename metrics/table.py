"""The caption metrics: one function and one entry each. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from metrics.scores.measurement import Measurement


class Metric(NamedTuple):
    """A number of ``overall`` and ``per_style`` in the results."""

    label: str
    """For people."""
    source: str
    """Where its :class:`metrics.scores.measurement.Measurement` is, which may give other metrics as well."""
    top: float = 1.0
    """End of its scale, which begins at 0."""
    higher_is_better: bool = True
    needs_java: bool = False
    needs_english: bool = False
    """Whether it knows words, so that of other languages it says nothing."""
    needs_pictures: bool = False
    """Whether it looks at the pictures with a CLIP model, which somebody has to name: it is measured where one is."""
    needs_references: bool = True
    place: int | None = 100
    """Order of the cards on top of a report; None for no card."""


METRICS: Mapping[str, Metric] = {
    "Bleu_1": Metric("BLEU-1", "metrics.scores.bleu:BLEU", place=6),
    "Bleu_2": Metric("BLEU-2", "metrics.scores.bleu:BLEU", place=None),
    "Bleu_3": Metric("BLEU-3", "metrics.scores.bleu:BLEU", place=None),
    "Bleu_4": Metric("BLEU-4", "metrics.scores.bleu:BLEU", place=2),
    "METEOR": Metric("METEOR", "metrics.scores.meteor:METEOR", needs_english=True, place=4),
    "ROUGE_L": Metric("ROUGE-L", "metrics.scores.rouge:ROUGE_L", place=3),
    "CIDEr": Metric("CIDEr", "metrics.scores.cider:CIDER", top=10.0, place=1),
    "SPICE": Metric("SPICE", "metrics.scores.java_metrics:SPICE", needs_java=True, needs_english=True, place=5),
    "CLIPScore": Metric(
        "CLIPScore", "metrics.scores.clip:CLIP_SCORE", top=2.5, needs_pictures=True, needs_references=False, place=7
    ),
    "RefCLIPScore": Metric(
        "RefCLIPScore", "metrics.scores.clip:REF_CLIP_SCORE", top=10 / 7, needs_pictures=True, place=8
    ),
}
"""By pycocoevalcap's key, in the order of its own tables; behind them what it does not have."""

TEXT_METRICS = tuple(name for name, metric in METRICS.items() if not metric.needs_pictures)
"""Those that compare captions alone, and so can be measured wherever there are captions."""


METEORS: Mapping[str, str] = {"python": METRICS["METEOR"].source, "java": "metrics.scores.java_metrics:METEOR"}
"""By what computes METEOR its measurement: our own, or the program that ours is equal to."""


def with_pictures(names: Collection[str]) -> list[str]:
    """The metrics to measure where a CLIP model is named: all that look at pictures, unless some of them are chosen."""
    looking = [name for name, metric in METRICS.items() if metric.needs_pictures]
    return [*names, *(looking if set(looking).isdisjoint(names) else ())]


def measurements_of(names: Collection[str], *, meteor: str = "python") -> list[Measurement]:
    """The measurements that give these metrics, each once, in the order of the table.

    Args:
        names: Of ``METRICS``.
        meteor: Which of ``METEORS`` computes METEOR.
    """
    chosen = {METRICS["METEOR"].source: METEORS[meteor]}
    sources = dict.fromkeys(metric.source for name, metric in METRICS.items() if name in names)
    return [resolve_name(chosen.get(source, source)) for source in sources]


def label_of(name: str) -> str:
    """What people call a metric; the name itself of one that is in no table, such as an old results file's."""
    return METRICS[name].label if name in METRICS else name


def headlines() -> list[str]:
    """The metrics that a report shows on top, in order."""
    placed = {name: metric.place for name, metric in METRICS.items() if metric.place is not None}
    return sorted(placed, key=placed.__getitem__)
