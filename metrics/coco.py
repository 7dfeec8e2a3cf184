"""COCO caption metrics over captions that are tokenised already."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

METRIC_NAMES = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "SPICE")
"""pycocoevalcap's keys, in the order of its own tables."""

UNAVAILABLE = {
    "METEOR": "needs Java; only BLEU, ROUGE-L and CIDEr are computed",
    "SPICE": "needs Java; only BLEU, ROUGE-L and CIDEr are computed",
}
"""Metrics that are null in every result, with the reason."""


class Scores(NamedTuple):
    """What ``score_captions`` found."""

    overall: dict[str, float | None]
    """Corpus score by name (``METRIC_NAMES``), None for those in ``unavailable``. CIDEr in [0, 10], others [0, 1]."""
    per_example: dict[str, dict[str, float]]
    """By example_id, the available metrics of that example alone (with the corpus's document frequencies)."""
    unavailable: dict[str, str]
    """Metric name to the reason why it is None."""


def score_captions(references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str]) -> Scores:
    """Score one caption per example with pycocoevalcap's BLEU, ROUGE-L and CIDEr.

    Words are what white space separates. CIDEr counts its document frequencies over the examples given here, so
    the CIDEr of a subset is not the mean over the subset of the whole; for a single example it is 0 by definition.
    An empty hypothesis scores 0 in every metric.

    Args:
        references: Human captions by example_id, at least one each, tokenised.
        hypotheses: The caption to score by example_id, tokenised; "" counts as empty.

    Returns:
        Scores overall and per example.

    Raises:
        ValueError: If the ids differ, there is no example, an example has no references, or no reference at all
            has a word.
    """
    check_same_ids(references, hypotheses, "hypothesis")
    gts = {example_id: [_single_spaced(text) for text in texts] for example_id, texts in references.items()}
    _check_references(gts)
    res = {example_id: [_single_spaced(hypotheses[example_id])] for example_id in gts}
    columns = {**_bleu(gts, res), "ROUGE_L": _rouge_l(gts, res), "CIDEr": _cider(gts, res)}
    return Scores(
        overall={name: columns[name][0] if name in columns else None for name in METRIC_NAMES},
        per_example={
            example_id: {name: values[row] for name, (_, values) in columns.items()}
            for row, example_id in enumerate(gts)
        },
        unavailable=dict(UNAVAILABLE),
    )


def check_same_ids(expected: Collection[str], given: Collection[str], what: str) -> None:
    """Refuse ``given`` unless it has exactly the ids of ``expected``.

    Args:
        expected: The example_ids that have references.
        given: The example_ids that have a ``what``.
        what: Singular noun for the message: "hypothesis", "style".

    Raises:
        ValueError: Counting and listing (first five) the ids that are missing and those that are too many.
    """
    known, found = set(expected), set(given)
    missing = [example_id for example_id in expected if example_id not in found]
    extra = [example_id for example_id in given if example_id not in known]
    faults = []
    if missing:
        faults.append(f"{len(missing)} of {len(known)} examples have no {what} ({_first_five(missing)})")
    if extra:
        faults.append(f"{len(extra)} have a {what} but no references ({_first_five(extra)})")
    if faults:
        raise ValueError("; ".join(faults) + f". Every example_id needs its references and one {what}.")


def _first_five(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")


def _single_spaced(text: str) -> str:
    # pycocoevalcap's ROUGE-L splits at every single space and would count empty words.
    return " ".join(text.split())


def _check_references(gts: Mapping[str, Sequence[str]]) -> None:
    if not gts:
        raise ValueError("no examples to score: references and hypotheses are empty.")
    bare = [example_id for example_id, texts in gts.items() if not texts]
    if bare:
        raise ValueError(
            f"{len(bare)} examples have an empty list of references ({_first_five(bare)}); leave them out."
        )
    if not any(text for texts in gts.values() for text in texts):
        raise ValueError(f"none of the {len(gts)} examples has a reference with a word in it; check the captions.")


_Texts = dict[str, list[str]]
_Column = tuple[float, list[float]]
"""Corpus score, and the score of each example in the order of ``gts``."""


def _bleu(gts: _Texts, res: _Texts) -> dict[str, _Column]:
    from pycocoevalcap.bleu.bleu import Bleu

    overall, per_example = Bleu(4).compute_score(gts, res, verbose=0)
    return {f"Bleu_{n + 1}": (float(overall[n]), [float(value) for value in per_example[n]]) for n in range(4)}


def _rouge_l(gts: _Texts, res: _Texts) -> _Column:
    from pycocoevalcap.rouge.rouge import Rouge

    _, per_example = Rouge().compute_score(gts, res)
    # The scorer takes "" for a word, so that an empty hypothesis would win against an empty reference.
    values = [float(value) if res[example_id][0] else 0.0 for example_id, value in zip(gts, per_example, strict=True)]
    return sum(values) / len(values), values


def _cider(gts: _Texts, res: _Texts) -> _Column:
    from pycocoevalcap.cider.cider import Cider

    overall, per_example = Cider().compute_score(gts, res)
    return float(overall), [float(value) for value in per_example]
