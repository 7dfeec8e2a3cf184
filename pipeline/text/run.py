"""A text run from its configuration to its evaluated model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from configuration.groups import RunConfig
from pipeline.continuation import Start
from pipeline.loop import train_to_end
from pipeline.processes import end_with_launcher, rank
from pipeline.record import open_run
from pipeline.text.evaluate import evaluate_documents, open_trained
from pipeline.text.prepare import PreparedText, prepare_text
from pipeline.text.training import build_text_trainer
from pipeline.train import take_up
from pipeline.training import make_store, rows_per_step, training_arguments
from runs.ending import record_ending
from runs.folder import Run
from runs.lock import locked
from runs.source import warn_of_other_source
from trainers.hf_trainer import TrainingArguments
from trainers.processes import ending_with_the_others, on_first
from utils.io import hash_json
from utils.logging import setup_logging
from utils.signals import leaving_soon

logger = logging.getLogger(__name__)


@ending_with_the_others()
def train_text(
    config: RunConfig,
    command: Sequence[str],
    conf_file: Path,
    pause_after: float | None = None,
    *,
    allow_change: bool = False,
) -> dict[str, Any]:
    """Encode, train, save the final model, evaluate it; see :func:`pipeline.train.train`, whose words these are."""
    with leaving_soon():  # the processes meet
        args = training_arguments(config)
    end_with_launcher()
    with ExitStack() as held:
        run = Run(config.work_dir)
        is_known = on_first(partial(take_up, held, run))
        prepared = prepare_text(config)
        start = Start(rows_per_step(config, args), args.world_size, allow_change)
        on_first(partial(_enter, None if is_known else held, prepared, command, conf_file, start))
        setup_logging(run.log, rank())
        if rank() == 0:
            warn_of_other_source(run)
            if prepared.data.val_is_train:
                logger.warning("validated on the training documents: the configuration names no others")
        if run.output.is_dir():
            logger.info("%s is trained already; evaluating it", run.output)
            prepared = open_trained(prepared.config, str(run.output))
        else:
            paused = record_ending(run, lambda: _train_on(args, prepared, pause_after), record=rank() == 0)
            if paused is not None:
                return paused
        return evaluate_documents(prepared, str(run.output))


def _enter(
    held: ExitStack | None, prepared: PreparedText, command: Sequence[str], conf_file: Path, start: Start
) -> None:
    """Record the start, in a folder that ``held`` locks, if it is new."""
    if held is not None:
        held.enter_context(locked(prepared.run))
    data, lm = prepared.data, prepared.lm
    splits = {"train": data.train, "val": data.val, "eval": data.eval}
    made_from: dict[str, Any] = {f"{name}_sha256": bins.about["sha256"]["tokens.bin"] for name, bins in splits.items()}
    made_from |= {"documents_sha256": hash_json(data.train.about["sha256"])}
    made_from |= {"tokenizer_sha256": lm.tokenizer.digest()}
    open_run(prepared.run.root, prepared.config, command, {"data": made_from}, conf_file=conf_file, start=start)


def _train_on(args: TrainingArguments, prepared: PreparedText, pause_after: float | None) -> dict[str, Any] | None:
    store = make_store(prepared.config, prepared.run, args)
    build = partial(build_text_trainer, args, prepared, pause_after, store)
    return train_to_end(store, build, lambda: prepared.lm.save_to_dir(prepared.run.output), pause_after)
