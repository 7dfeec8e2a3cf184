"""A captioner's evaluation on a split, from a trained folder or right after training."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from captioning.styled import open_styled
from captioning.writer import CaptionWriter, join_processes
from configuration.groups import RunConfig
from metrics.baselines import neighbours_verdict
from pipeline.captioner import check_fits, make_settings, make_writer, new_registry
from pipeline.data import hash_examples, prepare_data, read_split, styles_of
from pipeline.features import feature_source, keep_features
from pipeline.neighbours import look_up
from pipeline.prepare import read_eval_split, with_model_styles
from pipeline.processes import rank
from pipeline.results import describe_provenance, score_examples, write_evaluation, write_run_report
from preprocessors.examples import CaptionExample
from preprocessors.pictures.images import limit_pixels
from preprocessors.readers import ReadResult
from runs.folder import Run
from trainers.processes import ending_with_the_others, on_first
from utils.durable import recover_folder
from utils.logging import setup_logging

logger = logging.getLogger(__name__)


@ending_with_the_others()
def evaluate(config: RunConfig, checkpoint: str | None) -> dict[str, Any]:
    """Evaluate a trained model on ``eval.split``; under ``torchrun`` the processes share the work.

    Args:
        config: Of the run; results go into its folder.
        checkpoint: Model folder or hub id; None takes the run's own ``output``.

    Returns:
        The results; empty on ranks above 0.

    Raises:
        FileNotFoundError: If there is no model yet.
    """
    run = Run(config.work_dir)
    if checkpoint is None and not (run.output.is_dir() or recover_folder(run.output)):
        raise FileNotFoundError(f"{run.output}: no trained model there; train first, or name one with --checkpoint")
    limit_pixels(config.image.max_pixels)
    processes = join_processes()
    on_first(partial(prepare_data, config.data))
    train_split = read_split(config.data, "train", check_pictures=False)
    name = checkpoint or str(run.output)
    styled = open_styled(name, registry=new_registry(config.style, train_split.examples))
    styles = styles_of(train_split.examples)
    wanted = make_settings(
        config.image, config.style, config.decode, styled.registry, styles, styled.captioner.vision(), styled.settings
    )
    if styled.settings is None:
        styled = styled.with_settings(wanted)
    elif differences := styled.settings.differences(wanted, name):
        raise ValueError(differences[0])
    styled.captioner.module.to(processes.device)
    writer = make_writer(config, styled)
    check_fits(config.decode, writer)
    eval_split = read_eval_split(config.data, config.eval, styled.registry)
    train_split = with_model_styles(train_split, styled.registry)
    setup_logging(run.log, rank())
    return evaluate_split(config, run, writer, eval_split, train_split.examples, model=name)


def evaluate_split(
    config: RunConfig,
    run: Run,
    writer: CaptionWriter,
    split: ReadResult,
    train_examples: Sequence[CaptionExample],
    *,
    model: str,
) -> dict[str, Any]:
    """Caption a split, score it, write results, captions and report (rank 0), and return the results.

    The file also has the scores of every example, for ``metrics.compare``; what is returned, and printed, has not.
    The run's own model writes into ``eval/``, any other into a folder of its own below.
    """
    writer.features = keep_features(config, writer, split.examples)
    hypotheses = writer.caption(split.examples, config.eval.batch_size, progress=sys.stderr.isatty())
    if rank() > 0:
        return {}
    provenance = describe_provenance(
        writer,
        model=model,
        split=config.eval.split,
        split_id=split.split_id,
        data_hash=hash_examples(split.examples),
        dropped=len(split.dropped),
        seed=config.train.seed,
    )
    source = feature_source(config, writer)
    results = score_examples(
        split.examples,
        hypotheses,
        train_examples=train_examples,
        neighbours=look_up(config.eval.neighbours, train_examples, split.examples, source),
        metrics=config.eval.metrics,
        provenance=provenance,
    )
    if verdict := neighbours_verdict(results):
        logger.warning("%s", verdict)
    own = Path(model).resolve() == run.output.resolve()
    folder = run.eval if own else run.eval / "-".join(Path(model).parts[-2:]).strip("/")
    write_evaluation(folder, config.eval.split, results, split, hypotheses)
    report = run.report if own else folder / "report.html"
    write_run_report(
        report,
        run,
        results,
        split.examples,
        hypotheses,
        report_images=config.eval.report_images,
        config=config.to_json_dict(),
        decoding=writer.decoding,
    )
    return {key: value for key, value in results.items() if key != "per_image"}
