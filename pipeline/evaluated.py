"""Which model an evaluation is of, and where what it finds goes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from runs.folder import Run
from utils.durable import recover_folder


class Places(NamedTuple):
    """Of an evaluation's files."""

    folder: Path
    """Of results, captions or texts."""
    report: Path
    """The page."""


def model_to_evaluate(run: Run, checkpoint: str | None) -> str:
    """The model folder or hub id that is asked for, or the run's own ``output``.

    Raises:
        FileNotFoundError: If that is not there yet.
    """
    if checkpoint is None and not (run.output.is_dir() or recover_folder(run.output)):
        raise FileNotFoundError(f"{run.output}: no trained model there; train first, or name one with --checkpoint")
    return checkpoint or str(run.output)


def places_of(run: Run, model: str) -> Places:
    """The run's own model writes into ``eval/``, any other into a folder of its own below."""
    if Path(model).resolve() == run.output.resolve():
        return Places(run.eval, run.report)
    folder = run.eval / "-".join(Path(model).parts[-2:]).strip("/")
    return Places(folder, folder / "report.html")
