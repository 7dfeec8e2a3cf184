"""The checkpoints of a run: which are complete, which one to go on from, where training stood then. Needs no torch."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from runs.folder import Run
from utils.io import read_json, write_json

logger = logging.getLogger(__name__)

STATE_FILE = "trainer_state.json"
"""What transformers' Trainer writes last into a checkpoint."""


class TrainingState(NamedTuple):
    """Where training stood."""

    epoch: float
    global_step: int
    """Optimizer steps done."""
    max_steps: int
    """Optimizer steps of the whole run."""
    best_checkpoint: str | None
    """Folder of the best checkpoint so far, as it was called then."""

    @property
    def is_finished(self) -> bool:
        """Whether all optimizer steps are done."""
        return self.global_step >= self.max_steps


def last_checkpoint(run: Run) -> str | None:
    """Newest complete checkpoint of an interrupted run, or None."""
    for _, folder in run.numbered_checkpoints():
        state = read_training_state(folder)
        if state is not None:
            _follow_move(folder, state)
            logger.info("resuming from %s", folder)
            return str(folder)
        logger.warning("%s: is not complete, because a save was interrupted; going on from an older one", folder)
    return None


def complete_steps(run: Run) -> list[int]:
    """Optimizer steps of the complete checkpoints, newest first."""
    return [step for step, folder in run.numbered_checkpoints() if read_training_state(folder) is not None]


def read_training_state(checkpoint: Path | str) -> TrainingState | None:
    """Where training stood at a checkpoint; None if it is not complete, since the state is what a save writes last."""
    try:
        state = read_json(Path(checkpoint) / STATE_FILE)
        return TrainingState(
            state.get("epoch") or 0.0,
            int(state["global_step"]),
            int(state["max_steps"]),
            state.get("best_model_checkpoint"),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _follow_move(folder: Path, state: TrainingState) -> None:
    """Correct the place of the best checkpoint, which is written down as a path, after a run folder was moved."""
    best = state.best_checkpoint
    moved = folder.with_name(Path(best).name) if best else folder
    if best and not Path(best).is_dir() and moved.is_dir():
        file = folder / STATE_FILE
        write_json(file, read_json(file) | {"best_model_checkpoint": str(moved)})
