"""Captions of a split to results JSON, captions file and report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from captioning.writer import CaptionWriter
from metrics.baselines import LookedUp
from metrics.clip import Sight
from metrics.coco_format import CaptionResult, write_caption_results
from metrics.results import evaluate_captions, write_results
from metrics.scores.clip import NO_CLIP
from models.settings import Decoding
from pipeline.overlap import Overlap
from pipeline.unscored import write_server_files
from preprocessors.examples import CaptionExample, rows_by_picture
from preprocessors.readers import ReadResult, count_reasons
from reports.run.page import ReportRow, write_report
from runs.folder import Run
from runs.metrics_log import curves_of_training
from trainers.losses.table import LOSS_TERMS
from utils.environment import describe_environment
from utils.io import write_json

logger = logging.getLogger(__name__)

NO_TRAINING_CAPTIONS = "the training captions are not there"


def captions_by_style(examples: Sequence[CaptionExample]) -> dict[str, list[str]]:
    """All human captions under their style."""
    grouped: dict[str, list[str]] = {}
    for example in examples:
        grouped.setdefault(example.style, []).extend(example.captions)
    return grouped


def score_examples(
    examples: Sequence[CaptionExample],
    hypotheses: dict[str, str],
    *,
    train_examples: Sequence[CaptionExample] | None,
    neighbours: LookedUp | str | None = None,
    metrics: Sequence[str],
    meteor: str = "python",
    sight: Sight | str = NO_CLIP,
    provenance: dict[str, Any],
) -> dict[str, Any]:
    """Results of captions, keyed by (image, style), with the scores of every one under ``per_image``.

    Args:
        examples: With references.
        hypotheses: Caption by example id.
        train_examples: Teachers of the style judge and candidates for the constant baseline; None if they are not
            there, and the results say so.
        neighbours: Of ``pipeline.neighbours.look_up``, for the baseline of the same name; None leaves it out.
        metrics: Caption metrics to compute.
        meteor: What computes METEOR, of ``metrics.table.METEORS``.
        sight: Of ``pipeline.sight.open_sight``, for the metrics that look at pictures.
        provenance: Where the captions come from.
    """
    results = evaluate_captions(
        {example.example_id: example.captions for example in examples},
        hypotheses,
        {example.example_id: example.style for example in examples},
        images={example.example_id: example.image_name for example in examples},
        train_captions=None if train_examples is None else captions_by_style(train_examples),
        neighbours=neighbours,
        metrics=metrics,
        meteor=meteor,
        sight=sight,
        per_image=True,
        provenance=provenance,
    )
    if train_examples is None:
        missing = ("baseline_constant", "diversity/copied_share")
        results |= {"baseline_constant": None}
        results["unavailable"] |= dict.fromkeys(missing, NO_TRAINING_CAPTIONS)
    return results


def describe_provenance(
    writer: CaptionWriter,
    *,
    model: str,
    split: str,
    read: ReadResult,
    data_hash: str,
    train_hash: str | None,
    overlap: Overlap | None,
    seed: int,
) -> dict[str, Any]:
    """What a reader of the numbers needs to make them again, and to know how far to trust them.

    Args:
        writer: Wrote the captions.
        model: Its folder or id.
        split: Name of the split.
        read: Its examples, and the rows left out.
        data_hash: Of its examples.
        train_hash: Of the training examples; None if they are not known.
        overlap: What the split shares with them, likewise.
        seed: Of the run.
    """
    return {
        "model": model,
        "styles": writer.preprocessor.registry.hash,
        "split": split,
        "split_id": read.split_id,
        "data_sha256": data_hash,
        "train_sha256": train_hash,
        "overlap_with_train": None if overlap is None else overlap._asdict(),
        "dropped_rows": len(read.dropped),
        "dropped_reasons": count_reasons(read.dropped),
        "decoding": asdict(writer.decoding) | ({} if writer.fusion is None else writer.fusion.describe()),
        "prompt": writer.preprocessor.prompt,
        "seed": seed,
        "environment": describe_environment(),
    }


def write_evaluation(
    folder: Path, name: str, results: dict[str, Any], split: ReadResult, hypotheses: dict[str, str]
) -> None:
    """Write ``<name>.captions.json``, the rows left out if any, then the results as ``<name>.json``.

    Of a split without captions also what COCO's evaluation server takes.
    """
    rows = [
        CaptionResult(
            image_id=example.image_name,
            caption=hypotheses[example.example_id],
            style=example.style,
            example_id=example.example_id,
        )
        for example in split.examples
    ]
    write_caption_results(folder / f"{name}.captions.json", rows)
    if not split.has_captions:
        for path in write_server_files(folder, name, split.examples, hypotheses):
            logger.info("for COCO's evaluation server: %s", path)
    if split.dropped:
        write_json(folder / f"{name}.dropped_rows.json", [row._asdict() for row in split.dropped])
    write_results(folder / f"{name}.json", results)


def write_run_report(
    path: Path,
    run: Run,
    results: dict[str, Any],
    examples: Sequence[CaptionExample],
    hypotheses: dict[str, str],
    *,
    report_images: int,
    config: dict[str, Any],
    decoding: Decoding,
) -> None:
    """Write the report: numbers, the first pictures in every style, loss curves, configuration.

    Args:
        path: The page.
        run: Its numbers of training are drawn, and it gives the title.
        results: Of the evaluation.
        examples: What was captioned.
        hypotheses: Caption by example id.
        report_images: So many pictures, spread evenly.
        config: The resolved configuration, JSON-like.
        decoding: How the captions were generated.
    """
    pictures = rows_by_picture(examples)
    stride = max(1, len(pictures) // max(1, report_images))
    shown = [[examples[row] for row in rows] for rows in pictures[::stride][:report_images]]
    rows = [
        ReportRow(example.example_id, example.image_path, example.style, hypotheses[example.example_id], references)
        for group in shown
        for example in group
        for references in [example.captions[:3]]
    ]
    curves = curves_of_training(run.metrics)
    write_report(
        path,
        title=run.root.name,
        results=results,
        rows=rows,
        losses=curves.losses,
        config=config,
        settings=asdict(decoding),
        training=curves.training,
        training_labels={name: term.label for name, term in LOSS_TERMS.items()},
    )
    logger.info("report: %s", path)
