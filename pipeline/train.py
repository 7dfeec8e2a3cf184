"""A training run from its configuration to its evaluated model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from captioning.styled import open_styled
from captioning.writer import CaptionWriter
from configuration.groups import RunConfig
from pipeline.adapters import FOLDER
from pipeline.captioner import make_writer
from pipeline.continuation import Start
from pipeline.data import prepare_data
from pipeline.evaluate import evaluate_split
from pipeline.findings import warn_of_findings
from pipeline.loop import train_to_end
from pipeline.overlap import Overlap, count_overlap, find_overlap, tell_overlap
from pipeline.prepare import Prepared, prepare
from pipeline.processes import end_with_launcher, rank
from pipeline.punctuation import tell_punctuation
from pipeline.record import enter_run, keep_document_frequency
from pipeline.training import build_trainer, make_store, rows_per_step, training_arguments
from runs.ending import record_ending
from runs.folder import Run
from runs.lock import locked
from runs.source import warn_of_other_source
from trainers.hf_trainer import TrainingArguments
from trainers.processes import ending_with_the_others, on_first
from utils.durable import clear_leftovers, recover_folder
from utils.logging import setup_logging
from utils.signals import leaving_soon

logger = logging.getLogger(__name__)


@ending_with_the_others()
def train(
    config: RunConfig,
    command: Sequence[str],
    conf_file: Path,
    pause_after: float | None = None,
    *,
    allow_change: bool = False,
) -> dict[str, Any]:
    """Train, save the final model, evaluate it.

    Everything that can be wrong with configuration, data or model is found before the run folder is made. A run that
    was interrupted goes on; one that has its final model is only evaluated again.

    Args:
        config: Resolved configuration.
        command: The command line, for the record.
        conf_file: The configuration file, for the record.
        pause_after: Stop at the first checkpoint at or after so many epochs, if training is not complete then; the
            same run goes on from there when it is started again.
        allow_change: Go on with an interrupted run though its processes, pictures or libraries have changed.

    Returns:
        The results of the evaluation, or ``{"paused": {"epoch", "global_step"}}``; empty on ranks above 0.

    Raises:
        Locked: If another process works in the run folder.
        Stopped: If a signal ended training, after a checkpoint.
    """
    with leaving_soon():  # the processes meet
        args = training_arguments(config)
    end_with_launcher()
    on_first(partial(prepare_data, config.data))
    with ExitStack() as held:
        is_known = on_first(partial(take_up, held, Run(config.work_dir)))
        prepared = prepare(config)
        config, run = prepared.config, prepared.run
        overlaps = on_first(partial(_find_overlaps, prepared))
        start = Start(rows_per_step(config, args), args.world_size, allow_change)
        on_first(partial(_enter, None if is_known else held, prepared, command, conf_file, start))
        setup_logging(run.log, rank())
        _warn_of_other_use(prepared)
        prepared.lengths.tell()
        tell_punctuation(prepared.writer.preprocessor.punctuation, prepared.data.train.examples)
        for name, shared in overlaps.items():
            tell_overlap(name, shared)
        if rank() == 0:
            warn_of_other_source(run)
            warn_of_findings(config.data, prepared.data, config.style.neutral)
        if run.output.is_dir():
            writer = _open_output(args, prepared)
        else:
            paused = record_ending(run, lambda: _train_on(args, prepared, pause_after), record=rank() == 0)
            if paused is not None:
                return paused
            writer = prepared.writer
        data = prepared.data
        overlap = overlaps[config.eval.split]
        return evaluate_split(
            config, run, writer, data.eval, data.train.examples, model=str(run.output), overlap=overlap
        )


def take_up(held: ExitStack, run: Run) -> bool:
    """Lock a run folder for as long as ``held`` is open, if it is there; whether it is."""
    if not run.root.is_dir():
        return False
    held.enter_context(locked(run))
    recover_folder(run.output)
    clear_leftovers(run.checkpoints)
    return True


def _enter(held: ExitStack | None, prepared: Prepared, command: Sequence[str], conf_file: Path, start: Start) -> None:
    """Record the start, in a folder that ``held`` locks, if it is new: what cannot be trained leaves none behind."""
    if held is not None:
        held.enter_context(locked(prepared.run))
    enter_run(prepared, command, conf_file, start)


def _train_on(args: TrainingArguments, prepared: Prepared, pause_after: float | None) -> dict[str, Any] | None:
    """Train from where the run stands to its end and save the final model; what is said of a pause, if it comes first.

    The model of ``prepared`` is changed in place.
    """
    run = prepared.run
    if rank() == 0 and prepared.tasks.document_frequency is not None:
        keep_document_frequency(run, prepared.tasks.document_frequency)
    store = make_store(prepared.config, run, args)
    build = partial(build_trainer, args, prepared, pause_after, store)
    adapters = prepared.adapters
    if adapters is None:
        return train_to_end(store, build, lambda: prepared.captioner.save_to_dir(run.output), pause_after)
    save = partial(prepared.captioner.save_to_dir, run.output, lambda aside: adapters.save(aside / FOLDER))
    return train_to_end(store, build, save, pause_after, adapters.merge)


def _open_output(args: TrainingArguments, prepared: Prepared) -> CaptionWriter:
    run = prepared.run
    logger.info("%s is trained already; evaluating it", run.output)
    trained = open_styled(run.output, kind=prepared.config.model.kind)
    trained.captioner.module.to(args.device)
    return make_writer(prepared.config, trained)


def _find_overlaps(prepared: Prepared) -> dict[str, Overlap]:
    """What validation and evaluation share with the training rows, by the name of the split."""
    config, data = prepared.config, prepared.data
    splits = {"val": data.val, config.eval.split: data.eval}
    overlaps: dict[str, Overlap] = {
        name: find_overlap(config.data, name, data.train, split) for name, split in splits.items()
    }
    if prepared.tasks.pairs is None:
        return overlaps
    learnt = [*data.train.examples, *prepared.learnt]
    return {name: count_overlap(learnt, split.examples) for name, split in splits.items()}


def _warn_of_other_use(prepared: Prepared) -> None:
    before, settings = prepared.came_with, prepared.captioner.settings
    if before is not None and settings is not None:
        for difference in before.differences(settings, prepared.config.model.name or ""):
            logger.warning("%s", difference)
