"""A language model's evaluation on documents, from a trained folder or right after training."""

from __future__ import annotations

import logging
from typing import Any

from captioning.device import move
from configuration.groups import RunConfig
from metrics.results import write_results
from pipeline.evaluated import model_to_evaluate, places_of
from pipeline.processes import rank
from pipeline.text.prepare import PreparedText, prepare_text
from pipeline.text.samples import sample_writer
from pipeline.text.scoring import text_results
from reports.run.text_page import write_text_report
from runs.folder import Run
from runs.leaderboard import add_to_leaderboard
from runs.metrics_log import curves_of_training
from utils.environment import describe_environment
from utils.io import write_json
from utils.logging import setup_logging

logger = logging.getLogger(__name__)

ON_TRAINING = (
    "evaluated on the documents that the model was trained on, since the configuration names no others "
    "(documents.val): the numbers say how well it knows them by heart"
)


def evaluate_text(config: RunConfig, checkpoint: str | None) -> dict[str, Any]:
    """Evaluate a trained language model on ``eval.split``, as :func:`pipeline.evaluate.evaluate` does a captioner."""
    run = Run(config.work_dir)
    name = model_to_evaluate(run, checkpoint)
    setup_logging(run.log, rank())
    return evaluate_documents(open_trained(config, name), name)


def open_trained(config: RunConfig, name: str) -> PreparedText:
    """A trained model, to be used in place of what its run began with.

    Raises:
        FileNotFoundError: If the folder is not there.
        ValueError: If it cannot be used.
    """
    model = config.model.model_copy(update={"name": name, "preset": None, "revision": None})
    documents = config.documents.model_copy(update={"tokenizer": None})
    prepared = prepare_text(config.model_copy(update={"model": model, "documents": documents}))
    move(prepared.lm.network, None)
    return prepared


def evaluate_documents(prepared: PreparedText, model: str) -> dict[str, Any]:
    """Score the documents of ``eval.split``, write results, texts and report (rank 0), and return the results."""
    if rank() > 0:
        return {}
    config, lm, data, run = prepared.config, prepared.lm, prepared.data, prepared.run
    lm.network.eval()
    results = text_results(lm, prepared.packer(data.eval), config.lm.hit_places)
    results["provenance"] = _provenance(prepared, model)
    if data.eval is data.train:
        results["note"] = ON_TRAINING
        logger.warning("%s", ON_TRAINING)
    places = places_of(run, model)
    texts = sample_writer(lm, config.lm, data.eval, config.train.seed).write() if config.lm.sample_num else []
    write_json(places.folder / f"{config.eval.split}.texts.json", texts)
    write_results(places.folder / f"{config.eval.split}.json", results)
    if config.eval.leaderboard is not None:
        add_to_leaderboard(config.eval.leaderboard, results)
    curves = curves_of_training(run.metrics)
    write_text_report(
        places.report,
        title=run.root.name,
        results=results,
        texts=texts,
        losses=curves.losses,
        training=curves.training,
        config=config.to_json_dict(),
    )
    return results


def _provenance(prepared: PreparedText, model: str) -> dict[str, Any]:
    config, lm, data = prepared.config, prepared.lm, prepared.data
    return {
        "model": model,
        "split": config.eval.split,
        "documents": data.eval.about["source"],
        "data_sha256": data.eval.about["sha256"]["tokens.bin"],
        "train_sha256": data.train.about["sha256"]["tokens.bin"],
        "skipped": data.eval.about["skipped"],
        "tokenizer": lm.tokenizer.digest(),
        "styles": None if lm.registry is None else lm.registry.hash,
        "positions": config.lm.positions,
        "seed": config.train.seed,
        "environment": describe_environment(),
    }
