"""The results of an evaluation as one JSON object."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from metrics.baselines import LookedUp, Resampling, constant_baseline, group_by_style, neighbours_baseline
from metrics.clip import Sight, describe_sight, look
from metrics.coco import CaptionScores, score_captions
from metrics.confidence import LEVEL, bootstrap_intervals
from metrics.scores.clip import NO_CLIP
from metrics.scores.document_frequency import DocumentFrequency
from metrics.scores.examples import check_same_ids
from metrics.scores.java import java_version
from metrics.style.diversity import caption_diversity
from metrics.style.judge import judge_style
from metrics.table import METRICS, TEXT_METRICS, measurements_of
from metrics.tokenizers.table import Tokenizer, open_tokenizer
from utils.io import encode_json, write_bytes

METEOR_NAMES = {
    "python": "1.5, without Java (metrics.meteor)",
    "java": "1.5, the Java program of pycocoevalcap",
}
"""What provenance calls those of ``metrics.table.METEORS``."""


class _Texts(NamedTuple):
    """Tokenised captions: words separated by one space."""

    references: dict[str, list[str]]
    hypotheses: dict[str, str]
    train_captions: dict[str, list[str]]
    """By style."""


def evaluate_captions(
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    styles: Mapping[str, str] | None,
    *,
    images: Mapping[str, str] | None = None,
    train_captions: Mapping[str, Sequence[str]] | None,
    neighbours: LookedUp | str | None = None,
    provenance: Mapping[str, Any],
    metrics: Collection[str] = TEXT_METRICS,
    per_image: bool = False,
    resamples: int = 1000,
    seed: int = 0,
    domains: Mapping[str, str] | None = None,
    tokenizer: Tokenizer | None = None,
    document_frequency: DocumentFrequency | None = None,
    meteor: str = "python",
    sight: Sight | str = NO_CLIP,
) -> dict[str, Any]:
    """Score captions overall and per style, say how sure the scores are, and what is reached without learning.

    CIDEr's document frequencies are counted over all (image, style) examples together for ``overall``, and over a
    style's own examples for ``per_style``: the overall CIDEr is not the mean of the styles'. All text goes through
    the tokenizer first.

    Args:
        references: Human captions by example_id, as written.
        hypotheses: The model's caption by example_id, as written; may be empty.
        styles: Style name by example_id; None or empty if captions have no style.
        images: Image by example_id: confidence is about other images, and diversity looks at the captions of one;
            None takes every example for an image of its own.
        train_captions: Training captions by style: candidates for ``baseline_constant``, teachers of the style judge,
            what captions may be copied from. None leaves these out.
        neighbours: Which of the training captions are those of training pictures like each example's, or why nobody
            knows; None leaves ``baseline_neighbours`` out. Needs ``train_captions`` and styles.
        provenance: What produced the captions (model, data, split, decoding); passed through.
        metrics: Names from ``metrics.table.METRICS``.
        per_image: Add ``per_image``, which ``metrics.compare`` needs.
        resamples: Of the confidence intervals.
        seed: Of the confidence intervals.
        domains: Part of the data set by example_id, for those that have one, whose figures are to be told (nocaps).
        tokenizer: Makes words of all text; None = PTB's, as everybody's.
        document_frequency: Of another corpus, for CIDEr, counted with this tokenizer; None counts over the references.
        meteor: Which of ``metrics.table.METEORS`` computes METEOR.
        sight: What looks at the images for the metrics that need them, or why nothing can.

    Returns:
        ``overall``; ``per_style`` and, with domains, ``per_domain`` (each with ``n``); ``style`` (``judge_style``'s, {}
        without styles or training captions); ``diversity``; ``confidence`` (95% bootstrap intervals over images);
        ``unavailable`` (name to reason); ``n``; ``provenance`` with ``metrics``: tokenizer, versions, and a hash of the
        tokenised references;
        with ``train_captions`` also ``baseline_constant``: by style the training caption that is best as the only
        caption, with its CIDEr, and under ``overall`` the CIDEr of answering each example with its style's constant
        (None if a style has none); without styles only
        ``overall``, with the caption; with ``neighbours`` also ``baseline_neighbours``, see
        :func:`metrics.baselines.neighbours_baseline`.

    Raises:
        ValueError: If the ids of the mappings differ, or the references cannot be scored.
    """
    loose = [key for key, texts in references.items() if isinstance(texts, str)]
    if loose:
        raise ValueError(
            f"{len(loose)} examples ({loose[0]!r}, ...) have a string for references; give a list of captions."
        )
    styles = styles or {}
    images = {key: key for key in references} if images is None else images
    check_same_ids(references, hypotheses, "hypothesis")
    check_same_ids(references, images, "image")
    if styles:
        check_same_ids(references, styles, "style")
    tokenizer = tokenizer or open_tokenizer()
    texts = _tokenize_all(tokenizer, references, hypotheses, train_captions or {})
    scores = score_captions(
        texts.references,
        texts.hypotheses,
        metrics=metrics,
        document_frequency=document_frequency,
        meteor=meteor,
        beside=look(sight, metrics, references, hypotheses, images),
    )
    ids_by_style = group_by_style([*references], styles)
    style_scores, unscored = _score_parts(scores, ids_by_style, "per_style")
    confidence, unsure = confidence_of(scores, style_scores, images, resamples, seed)
    judged, unjudged = _judge(texts, styles)
    results: dict[str, Any] = {
        "overall": scores.overall,
        "per_style": _describe_parts(scores, style_scores, ids_by_style),
        "style": judged,
        "diversity": caption_diversity(
            texts.hypotheses,
            images,
            references=texts.references,
            train_captions=None if train_captions is None else _flatten(texts.train_captions),
        ),
        "confidence": confidence,
        "unavailable": scores.unavailable | unscored | unsure | unjudged,
        "n": len(references),
        "provenance": {
            **provenance,
            "metrics": _describe_metrics(texts, metrics, tokenizer, document_frequency, meteor, sight),
        },
    }
    if domains:
        ids_by_domain = group_by_style([key for key in references if key in domains], domains)
        parts, unscored = _score_parts(scores, ids_by_domain, "per_domain")
        results["per_domain"] = _describe_parts(scores, parts, ids_by_domain)
        results["unavailable"] |= unscored
    if train_captions is not None:
        results["baseline_constant"], missing = constant_baseline(texts.references, texts.train_captions, styles)
        results["unavailable"] |= missing
    if neighbours is not None:
        known, drawn = (texts.references, texts.hypotheses, texts.train_captions), Resampling(images, resamples, seed)
        results["baseline_neighbours"], missing = neighbours_baseline(*known, styles, neighbours, drawn)
        results["unavailable"] |= missing
    if per_image:
        results["per_image"] = _describe_examples(scores, images, styles)
    return results


def confidence_of(
    scores: CaptionScores,
    style_scores: Mapping[str, CaptionScores],
    images: Mapping[str, str],
    resamples: int,
    seed: int,
) -> tuple[dict[str, Any], dict[str, str]]:
    """What results say of how sure scores are.

    Args:
        scores: Of all examples.
        style_scores: Of those of each style.
        images: Image by example_id.
        resamples: How often to draw.
        seed: Of the draws.

    Returns:
        Intervals overall and by style, {} where there are none, and the reasons for these.
    """
    intervals: dict[str, dict[str, list[float]]] = {}
    missing: dict[str, str] = {}
    parts = {"overall": scores} | {f"per_style/{style}": part for style, part in style_scores.items()}
    for name, part in parts.items():
        intervals[name] = {}
        try:
            intervals[name] = bootstrap_intervals(part, images, resamples=resamples, seed=seed)
        except ValueError as error:
            missing[f"confidence/{name}"] = str(error)
    per_style = {style: intervals[f"per_style/{style}"] for style in style_scores}
    described = {"level": LEVEL, "resamples": resamples, "seed": seed, "unit": "image"}
    return described | {"overall": intervals["overall"], "per_style": per_style}, missing


def write_results(path: Path, results: Mapping[str, Any]) -> None:
    """Write results as indented JSON with one line for each entry of ``per_image``, at once."""
    rest = encode_json({key: value for key, value in results.items() if key != "per_image"}, indent=True)
    rows = b",\n".join(
        b"    " + encode_json(key) + b": " + encode_json(row) for key, row in results.get("per_image", {}).items()
    )
    if rows:
        rest = rest.removesuffix(b"\n}") + b',\n  "per_image": {\n' + rows + b"\n  }\n}"
    write_bytes(path, rest + b"\n")


def _tokenize_all(
    tokenizer: Tokenizer,
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    train_captions: Mapping[str, Sequence[str]],
) -> _Texts:
    # Each kind by itself, for a caption's last word can depend on the caption that follows.
    return _Texts(
        _tokenize_lists(tokenizer, references),
        dict(zip(references, tokenizer.tokenize_many([hypotheses[key] for key in references]), strict=True)),
        _tokenize_lists(tokenizer, train_captions),
    )


def _tokenize_lists(tokenizer: Tokenizer, captions: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    tokenized = iter(tokenizer.tokenize_many(_flatten(captions)))
    return {key: list(islice(tokenized, len(texts))) for key, texts in captions.items()}


def _flatten(captions: Mapping[str, Sequence[str]]) -> list[str]:
    return [caption for texts in captions.values() for caption in texts]


def _score_parts(
    scores: CaptionScores, ids_by_part: Mapping[str, Sequence[str]], kind: str
) -> tuple[dict[str, CaptionScores], dict[str, str]]:
    """Scores by style (or domain), and the reasons for what has none; one such style must not stop the others."""
    scored: dict[str, CaptionScores] = {}
    missing: dict[str, str] = {}
    for part, ids in ids_by_part.items():
        try:
            scored[part] = scores.subset(ids)
        except ValueError as error:
            missing[f"{kind}/{part}"] = str(error)
        else:
            alone = scored[part].unavailable.items() - scores.unavailable.items()
            missing |= {f"{kind}/{part}/{metric}": reason for metric, reason in alone}
    return scored, missing


def _describe_parts(
    scores: CaptionScores, scored: Mapping[str, CaptionScores], ids_by_part: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float | None]]:
    return {
        part: {**(scored[part].overall if part in scored else dict.fromkeys(scores.overall)), "n": len(ids)}
        for part, ids in ids_by_part.items()
    }


def _judge(texts: _Texts, styles: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Style scores, and the reasons for those that are missing."""
    if not styles:
        return {}, {}
    if not set(styles.values()) & set(texts.train_captions):
        return {}, {"style": "there are no training captions in these styles, from which the judge would learn them"}
    return judge_style(texts.train_captions, texts.references, texts.hypotheses, styles)


def _describe_metrics(
    texts: _Texts,
    metrics: Collection[str],
    tokenizer: Tokenizer,
    document_frequency: DocumentFrequency | None,
    meteor: str,
    sight: Sight | str,
) -> dict[str, Any]:
    """What the numbers depend on besides the captions."""
    cider = "document frequencies of the references scored, within a style those of the style"
    if document_frequency is not None:
        end = f", each caption ended with {document_frequency.eos}" if document_frequency.eos else ""
        cider = f"document frequencies of another corpus of {document_frequency.num_documents:,} pictures{end}"
    needs_java = any(METRICS[name].needs_java or (name == "METEOR" and meteor == "java") for name in metrics)
    return {
        "tokenizer": tokenizer.name,
        "references_sha256": _hash_references(texts.references),
        "cider": cider,
        **{package: version(package) for package in ("pycocoevalcap", "numpy", "scikit-learn")},
        "meteor": METEOR_NAMES[meteor] if "METEOR" in metrics else None,
        "java": java_version() if needs_java else None,
        **describe_sight(sight, metrics),
    }


def _hash_references(references: Mapping[str, Sequence[str]]) -> str:
    """The same for the same tokenised references, whatever their order and that of the examples."""
    digest = hashlib.sha256()
    for key in sorted(references):
        digest.update("\0".join([key, *sorted(references[key]), "\n"]).encode())
    return digest.hexdigest()


def _describe_examples(
    scores: CaptionScores, images: Mapping[str, str], styles: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """Each example's image, style if any, metrics, and the statistics that corpus scores come from."""
    columns = {name: values.tolist() for name, values in scores.per_example.items()}
    counted = {measurement.name: measurement.statistics_key for measurement in measurements_of(scores.metrics)}
    columns |= {counted[name]: values.tolist() for name, values in scores.statistics.items()}
    return {
        key: {
            "image": images[key],
            **({"style": styles[key]} if styles else {}),
            **{name: values[row] for name, values in columns.items()},
        }
        for row, key in enumerate(scores.ids)
    }
