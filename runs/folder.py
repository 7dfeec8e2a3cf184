"""Where the files of a run lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Run:
    """The places of a run's files. Making one touches nothing on disk; ``runs.record`` does."""

    root: Path

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.root / "config.json"

    @property
    def log(self) -> Path:
        """Log lines of all ranks."""
        return self.root / "log.txt"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def output(self) -> Path:
        """Folder of the final model."""
        return self.root / "output"

    @property
    def eval(self) -> Path:
        """Folder of the evaluations."""
        return self.root / "eval"

    @property
    def samples(self) -> Path:
        """Captions of fixed rows at every validation, JSON Lines."""
        return self.root / "samples.jsonl"

    @property
    def metrics(self) -> Path:
        """Numbers against ``global_step``, JSON Lines."""
        return self.root / "metrics.jsonl"

    @property
    def document_frequency(self) -> Path:
        """Document frequencies that the rewards weigh with."""
        return self.root / "document_frequency.npz"

    @property
    def report(self) -> Path:
        """The page with pictures, captions and loss curves."""
        return self.root / "report.html"

    @property
    def lock(self) -> Path:
        """Held by the process that works in the folder."""
        return self.root / ".lock"

    @property
    def lock_holder(self) -> Path:
        """Who holds the lock."""
        return self.root / ".lock.json"

    @property
    def save_now(self) -> Path:
        """Whoever makes this file asks training for a checkpoint at the end of the step."""
        return self.root / "save-now"

    @property
    def last(self) -> Path:
        """Names the newest checkpoint."""
        return self.checkpoints / "last.json"

    @property
    def best(self) -> Path:
        """Names the best checkpoint and its score."""
        return self.checkpoints / "best.json"

    def checkpoint(self, step: int) -> Path:
        """Folder of the checkpoint of an optimizer step."""
        return self.checkpoints / f"checkpoint-{step}"

    def numbered_checkpoints(self) -> list[tuple[int, Path]]:
        """Optimizer step and folder of each checkpoint, complete or not, newest first."""
        named = [(path.name.removeprefix("checkpoint-"), path) for path in self.checkpoints.glob("checkpoint-*")]
        return sorted(((int(step), path) for step, path in named if step.isdigit()), reverse=True)
