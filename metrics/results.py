"""The results of an evaluation as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeVar

from metrics.coco import METRIC_NAMES, check_same_ids, score_captions
from metrics.constant import best_constant_caption
from metrics.text import normalize_caption

Value = TypeVar("Value")

CAPTION_TEXT = "lower-cased, punctuation removed, split at white space (not PTB)"
"""How captions became words; goes into the provenance of every result."""


def evaluate_captions(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    styles: Mapping[str, str],
    *,
    train_captions: Mapping[str, Sequence[str]] | None,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Score captions overall and per style, and put beside them what a constant caption reaches.

    CIDEr's document frequencies are counted over all (image, style) examples together for ``overall``, and over a
    style's own examples for ``per_style``: the overall CIDEr is not the mean of the styles'. All text goes through
    ``normalize_caption`` first.

    Args:
        references: Human captions by example_id, as written.
        hypotheses: The model's caption by example_id, as written; may be empty.
        styles: Style name by example_id.
        train_captions: Training captions by style, the candidates for ``baseline_constant``; None leaves it out.
        provenance: What produced the captions (model, data, split, decoding); passed through.

    Returns:
        ``overall``, ``per_style`` (each with ``n``), ``style`` and ``confidence`` (empty: nothing measures them yet),
        ``diversity``, ``unavailable`` (name to reason), ``n``, ``provenance``, and with ``train_captions`` also
        ``baseline_constant``: by style the training caption that is best as the only caption, with its CIDEr, and
        under ``overall`` the CIDEr of answering each example with its style's constant (None if a style has none).

    Raises:
        ValueError: If the ids of the three mappings differ, or the references cannot be scored.
    """
    check_same_ids(references, styles, "style")
    reference_texts = {key: [normalize_caption(text) for text in texts] for key, texts in references.items()}
    hypothesis_texts = {key: normalize_caption(text) for key, text in hypotheses.items()}
    scores = score_captions(reference_texts, hypothesis_texts)
    per_style, wordless = _score_styles(reference_texts, hypothesis_texts, styles)
    results: dict[str, Any] = {
        "overall": scores.overall,
        "per_style": per_style,
        "style": {},
        "diversity": caption_diversity(list(hypothesis_texts.values())),
        "confidence": {},
        "unavailable": scores.unavailable | wordless,
        "n": len(reference_texts),
        "provenance": {
            **provenance,
            "metrics": {"pycocoevalcap": version("pycocoevalcap"), "caption_text": CAPTION_TEXT},
        },
    }
    if train_captions is not None:
        results["baseline_constant"], missing = _constant_baselines(reference_texts, styles, train_captions)
        results["unavailable"] |= missing
    return results


def _score_styles(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, str], styles: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Scores by style, and the reasons for styles that have none; one such style must not stop the others."""
    scored: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    for style, ids in _ids_by_style(styles, references).items():
        scored[style] = {**dict.fromkeys(METRIC_NAMES), "n": len(ids)}
        try:
            scored[style] |= score_captions(_pick(references, ids), _pick(hypotheses, ids)).overall
        except ValueError as error:
            missing[f"per_style/{style}"] = str(error)
    return scored, missing


def caption_diversity(captions: Sequence[str]) -> dict[str, float]:
    """Measure how much a set of captions repeats itself.

    Args:
        captions: Tokenised captions; may hold empty ones.

    Returns:
        ``distinct_1`` and ``distinct_2``: different unigrams (bigrams) over all of them; ``unique_captions``:
        different captions over all; these in [0, 1]. ``mean_length``: words per caption. All 0 for no words.

    Source:
        Distinct-n: Li et al. 2016, arXiv:1510.03055.
    """
    words = [caption.split() for caption in captions]
    unigrams = [word for row in words for word in row]
    bigrams = [pair for row in words for pair in zip(row, row[1:], strict=False)]
    return {
        "distinct_1": _distinct(unigrams),
        "distinct_2": _distinct(bigrams),
        "unique_captions": _distinct(captions),
        "mean_length": len(unigrams) / max(len(captions), 1),
    }


def _distinct(items: Sequence[Any]) -> float:
    return len(set(items)) / max(len(items), 1)


def _pick(mapping: Mapping[str, Value], ids: Sequence[str]) -> dict[str, Value]:
    return {example_id: mapping[example_id] for example_id in ids}


def _ids_by_style(styles: Mapping[str, str], example_ids: Mapping[str, Any]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for example_id in example_ids:
        grouped.setdefault(styles[example_id], []).append(example_id)
    return grouped


def _constant_baselines(
    references: Mapping[str, Sequence[str]], styles: Mapping[str, str], train_captions: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The best constant caption by style and overall, and the reasons for those that do not exist."""
    baselines: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for style, ids in _ids_by_style(styles, references).items():
        candidates = [normalize_caption(text) for text in train_captions.get(style, ())]
        if not candidates:
            missing[f"baseline_constant/{style}"] = "no training captions in this style"
        elif not any(text for key in ids for text in references[key]):
            missing[f"baseline_constant/{style}"] = "no word in any reference of this style"
        else:
            best = best_constant_caption(_pick(references, ids), candidates)
            baselines[style] = {"caption": best.caption, "CIDEr": best.cider}
    constants = {key: baselines[styles[key]]["caption"] for key in references if styles[key] in baselines}
    complete = len(constants) == len(references)
    baselines["overall"] = {"CIDEr": score_captions(references, constants).overall["CIDEr"] if complete else None}
    return baselines, missing
