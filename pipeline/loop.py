"""The training loop of a run, whatever is trained: from its newest checkpoint to its end, or to a pause."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from pipeline.continuation import forget_after
from pipeline.processes import rank
from runs.checkpoints import choose_checkpoint, describe_step
from runs.metrics_log import has_reached
from trainers.base import BaseTrainer
from trainers.checkpoints import CheckpointStore
from trainers.processes import on_first
from trainers.progress import progress_shown
from utils.errors import Stopped
from utils.signals import requested_by

logger = logging.getLogger(__name__)


def train_to_end(
    store: CheckpointStore,
    build: Callable[[], BaseTrainer],
    save: Callable[[], None],
    pause_after: float | None,
    finish: Callable[[], None] | None = None,
) -> dict[str, Any] | None:
    """Train from where the run stands to its end and save the final model; all processes together.

    Args:
        store: Of the run's checkpoints.
        build: Makes the trainer.
        save: Writes the final model into the run's ``output``, whole or not at all.
        pause_after: Epochs after which to pause, None for never.
        finish: Makes of the trained module the final model, in place, on every process.

    Returns:
        What is said of a pause, if it comes first; empty on ranks above 0.

    Raises:
        Stopped: If a signal ended training, after a checkpoint.
    """
    run = store.run
    held = on_first(partial(choose_checkpoint, run, store.verifier))
    if held is not None and pause_after is not None and has_reached(held.epoch, pause_after) and not held.is_finished:
        return report_pause(held.epoch, held.step, held.max_steps)
    on_first(partial(forget_after, run, held))
    trainer = build()
    with progress_shown(trainer):
        trainer.train(resume_from_checkpoint=None if held is None else str(held.folder))
    state = trainer.state
    if trainer.is_stopped:
        where = describe_step(state.global_step, state.max_steps)
        raise Stopped(
            f"stopped by {requested_by()} after the checkpoint of {where}; the same command goes on from there"
        )
    if state.global_step < state.max_steps and not trainer.is_over:
        return report_pause(state.epoch or 0.0, state.global_step, state.max_steps)
    # Evaluate what is saved: accelerate leaves the forward pass under autocast.
    trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)
    if finish is not None:
        finish()
    store.keep_model(run.output, save)
    logger.info("model: %s", run.output)
    return None


def report_pause(epoch: float, global_step: int, max_steps: int) -> dict[str, Any]:
    """What is said of a run that will go on later."""
    if rank() != 0:
        return {}
    logger.info("paused after %.2f epochs, %s", epoch, describe_step(global_step, max_steps))
    return {"paused": {"epoch": epoch, "global_step": global_step}}
