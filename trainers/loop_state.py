"""What a training loop knows besides weights, optimizer and transformers' own state."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from utils.io import write_text
from utils.saved import Saved

FILE_NAME = "loop_state.json"


@dataclass(frozen=True)
class LoopState:
    """Where a training stands between two steps, the same on every process.

    Attributes:
        loss_since_log: Sum of the losses since the last log entry.
        last_logged: Optimizer step of that entry.
        awaits_validation: Whether a signal came before the validation that is due at this step.
        seconds: What training has taken so far, over all starts.
        meter: Of :meth:`trainers.monitoring.StepMeter.state`.
        extra: Of :meth:`trainers.resumable.ResumableTrainer.extra_state`.
    """

    loss_since_log: float
    last_logged: int
    awaits_validation: bool
    seconds: float = 0.0
    meter: Mapping[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def save_to_dir(self, folder: Path) -> None:
        """Write ``loop_state.json``."""
        # JSON of Python's own: it keeps NaN, which a bad step may have left among the numbers.
        write_text(folder / FILE_NAME, json.dumps(asdict(self)))

    @classmethod
    def load_from_dir(cls, folder: Path) -> Self:
        """Read it from a checkpoint; one of an earlier version has no ``seconds``.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged.
        """
        path = folder / FILE_NAME
        try:
            content = json.loads(path.read_bytes())
            return cls(**{item.name: content[item.name] for item in fields(cls) if item.name in content})
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: is damaged ({error}); go on from another checkpoint") from error


if TYPE_CHECKING:
    _: type[Saved] = LoopState
