"""A captioner's evaluation on a split, from a trained folder or right after training."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from captioning.styled import StyledCaptioner, open_styled
from captioning.writer import CaptionWriter, join_processes
from configuration.groups import RunConfig
from metrics.baselines import neighbours_verdict
from pipeline.captioner import check_fits, make_settings, make_writer, new_registry
from pipeline.data import hash_examples, prepare_data, styles_of
from pipeline.evaluated import model_to_evaluate, places_of
from pipeline.features import feature_source, keep_features
from pipeline.lengths import describe_cut, own_limit, with_limit
from pipeline.lm_perplexity import add_lm_perplexity, check_lm
from pipeline.neighbours import look_up
from pipeline.overlap import Overlap, find_overlap, tell_overlap
from pipeline.prepare import read_eval_split, with_model_styles
from pipeline.processes import rank
from pipeline.punctuation import punctuation_of
from pipeline.results import (
    NO_TRAINING_CAPTIONS,
    describe_provenance,
    score_examples,
    write_evaluation,
    write_run_report,
)
from pipeline.sight import check_clip, open_sight
from pipeline.streaming import read_training
from pipeline.unscored import unscored_results
from preprocessors.examples import CaptionExample
from preprocessors.pictures.images import limit_pixels
from preprocessors.readers import NoRows, ReadResult
from runs.folder import Run
from runs.leaderboard import add_to_leaderboard, check_leaderboard
from trainers.processes import ending_with_the_others, on_first
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
    name = model_to_evaluate(run, checkpoint)
    check_leaderboard(config.eval.leaderboard)
    limit_pixels(config.image.max_pixels)
    processes = join_processes()
    on_first(partial(prepare_data, config.data))
    on_first(partial(check_clip, config.eval.clip))
    on_first(partial(check_lm, config.eval.lm))
    train_split = _read_training(config)
    config, styled = _open_as_trained(config, name, train_split)
    styled.captioner.module.to(processes.device)
    writer = make_writer(config, styled)
    check_fits(config.decode, writer)
    eval_split = read_eval_split(config.data, config.eval, styled.registry)
    if not isinstance(train_split, ReadResult):
        setup_logging(run.log, rank())
        logger.warning("%s: what needs the training captions is left out of the results", train_split)
        return evaluate_split(config, run, writer, eval_split, None, model=name)
    train_split = with_model_styles(train_split, styled.registry)
    overlap = on_first(partial(find_overlap, config.data, config.eval.split, train_split, eval_split))
    setup_logging(run.log, rank())
    tell_overlap(config.eval.split, overlap)
    return evaluate_split(config, run, writer, eval_split, train_split.examples, model=name, overlap=overlap)


def _read_training(config: RunConfig) -> ReadResult | Exception:
    """The captions that the model was trained on, or why they are not there."""
    try:
        return read_training(
            config.data, aliases=config.style.aliases, check_pictures=False, neutral=config.style.neutral
        )
    except (FileNotFoundError, NoRows) as error:
        return error


def _open_as_trained(config: RunConfig, name: str, train: ReadResult | Exception) -> tuple[RunConfig, StyledCaptioner]:
    """The model, and the configuration with the limit of length that it goes by.

    Raises:
        ValueError: If the configuration uses it otherwise than it was trained.
    """
    if isinstance(train, ReadResult):
        styled = open_styled(name, registry=new_registry(config.style, train.examples), kind=config.model.kind)
        styles = styles_of(train.examples)
    else:
        styled, styles = _open_received(config, name, train), []
    styled, vision = styled.with_styles((), config.style.aliases), styled.captioner.vision()
    if config.decode.max_length is None:
        config = with_limit(config, own_limit(config, styled.settings))
    wanted = make_settings(
        *(config.image, config.style, config.decode, styled.registry, styles, vision, styled.settings),
        punctuation=punctuation_of(config.data, styled.settings),
    )
    if styled.settings is None:
        return config, styled.with_settings(wanted)
    if differences := styled.settings.differences(wanted, name):
        raise ValueError(differences[0])
    return config, styled


def _open_received(config: RunConfig, name: str, why_alone: Exception) -> StyledCaptioner:
    """A model that brings its styles and settings, and so can be evaluated without its training data.

    Raises:
        ValueError: If it does not, with the reason why there is no training data.
    """
    try:
        styled = open_styled(name, kind=config.model.kind)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} Its training data, which would say, is not there: {why_alone}") from error
    if styled.settings is None:
        raise ValueError(f"{why_alone} Without it nobody knows how {name} is to be used: it brings no settings.")
    return styled


def evaluate_split(
    config: RunConfig,
    run: Run,
    writer: CaptionWriter,
    split: ReadResult,
    train_examples: Sequence[CaptionExample] | None,
    *,
    model: str,
    overlap: Overlap | None = None,
) -> dict[str, Any]:
    """Measure on a split, write results, captions and report (rank 0), and return the results.

    The file also has the scores of every example, for ``metrics.compare``; what is returned, and printed, has not.
    The run's own model writes into ``eval/``, any other into a folder of its own below.
    """
    results, hypotheses = measure_split(config, writer, split, train_examples, model=model, overlap=overlap)
    if rank() > 0:
        return {}
    if verdict := neighbours_verdict(results):
        logger.warning("%s", verdict)
    places = places_of(run, model)
    write_evaluation(places.folder, config.eval.split, results, split, hypotheses)
    if config.eval.leaderboard is not None:
        add_to_leaderboard(config.eval.leaderboard, results)
    write_run_report(
        places.report,
        run,
        results,
        split.examples,
        hypotheses,
        report_images=config.eval.report_images,
        config=config.to_json_dict(),
        decoding=writer.decoding,
    )
    return {key: value for key, value in results.items() if key != "per_image"}


def measure_split(
    config: RunConfig,
    writer: CaptionWriter,
    split: ReadResult,
    train_examples: Sequence[CaptionExample] | None,
    *,
    model: str,
    overlap: Overlap | None = None,
) -> tuple[dict[str, Any], dict[str, str]]:
    """Caption a split and score it: from data and model to results, and nothing is written but features that are kept.

    Without training examples, or without captions to compare with, what needs them is null with the reason.

    Returns:
        The results, with the scores of every example, and the captions by example id; both empty on ranks above 0.
    """
    writer.features = keep_features(config, writer, split.examples)
    hypotheses = writer.caption(split.examples, config.eval.batch_size, progress=sys.stderr.isatty())
    if rank() > 0:
        return {}, {}
    provenance = describe_provenance(
        writer,
        model=model,
        split=config.eval.split,
        read=split,
        data_hash=hash_examples(split.examples),
        train_hash=None if train_examples is None else hash_examples(train_examples),
        overlap=overlap,
        seed=config.train.seed,
    )
    sight = open_sight(config.eval.clip, split.examples)
    if split.has_captions:
        source = feature_source(config, writer)
        results = score_examples(
            split.examples,
            hypotheses,
            train_examples=train_examples,
            neighbours=NO_TRAINING_CAPTIONS
            if train_examples is None
            else look_up(config.eval.neighbours, train_examples, split.examples, source),
            metrics=config.eval.measured,
            meteor=config.eval.meteor,
            sight=sight,
            provenance=provenance,
        )
        if config.eval.lm is not None:
            device = writer.captioner.device
            add_lm_perplexity(results, config.eval.lm, split.examples, hypotheses, device, train_examples)
    else:
        results = unscored_results(
            split.examples, hypotheses, metrics=config.eval.measured, provenance=provenance, sight=sight
        )
    results["length"] = describe_cut(
        split.examples, writer.cut, writer.decoding.max_length, writer.captioner, writer.preprocessor
    )
    return results, hypotheses
