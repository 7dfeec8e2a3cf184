"""The checkpoints of a run: which one to go on from, and where training stood then."""

from __future__ import annotations

import logging
from pathlib import Path

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from utils.io import read_json, write_json
from utils.runs import Run

logger = logging.getLogger(__name__)


def last_checkpoint(run: Run) -> str | None:
    """Newest complete checkpoint of an interrupted run, or None."""
    for _, folder in run.numbered_checkpoints():
        state = read_trainer_state(folder)
        if state is not None:
            _follow_move(folder, state)
            logger.info("resuming from %s", folder)
            return str(folder)
        logger.warning("%s: is not complete, because a save was interrupted; going on from an older one", folder)
    return None


def read_trainer_state(checkpoint: Path | str) -> TrainerState | None:
    """Where training stood at a checkpoint; None if it is not complete, since the state is what a save writes last."""
    try:
        return TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
    except (OSError, ValueError, TypeError):
        return None


def _follow_move(folder: Path, state: TrainerState) -> None:
    """Correct the place of the best checkpoint, which is written down as a path, after a run folder was moved."""
    best = state.best_model_checkpoint
    moved = folder.with_name(Path(best).name) if best else folder
    if best and not Path(best).is_dir() and moved.is_dir():
        file = folder / TRAINER_STATE_NAME
        write_json(file, read_json(file) | {"best_model_checkpoint": str(moved)})


def is_complete(state: TrainerState) -> bool:
    """Whether all optimizer steps are done."""
    return state.global_step >= state.max_steps
