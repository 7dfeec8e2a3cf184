"""Runs that are there: listed, shown, compared, ranked. Loads neither torch nor a model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metrics.table import METRICS, headlines
from metrics.text_lm import DOCUMENT_METRICS
from runs.board import make_board
from runs.comparison import compare_records
from runs.files import Record, evaluation_files, read_evaluation, read_record
from runs.folder import Run
from runs.leaderboard import add_to_leaderboard, check_entry, read_leaderboard
from runs.metrics_log import read_curves
from runs.source import changed_files, name_files, source_copies
from runs.state import RunState, describe_state, find_runs, is_run, size_of
from utils.errors import first_line
from utils.trees import find_at, get_number

logger = logging.getLogger(__name__)

RESAMPLES = 10_000
"""Of the paired tests."""


def find_all(folders: Sequence[Path]) -> list[Run]:
    """The runs at or below some folders, each once.

    Raises:
        FileNotFoundError: If a folder is not there.
        ValueError: If a folder cannot be read.
    """
    found = [run for folder in folders for run in find_runs(folder)]
    return list({run.root.resolve(): run for run in found}.values())


def list_runs(folders: Sequence[Path]) -> list[RunState]:
    """How the runs at or below some folders stand; raises as :func:`find_all` does."""
    return [describe_state(run) for run in find_all(folders)]


def show_run(folder: Path) -> tuple[dict[str, Any], RunState]:
    """Everything about a run.

    Returns:
        ``state``, ``starts``, ``environment``, ``configuration``, ``source`` (``copies``, ``changed`` since),
        ``sizes`` (bytes), ``checkpoints`` (steps), ``evaluations``; and its state once more.

    Raises:
        FileNotFoundError: If there is no run.
    """
    run, record = _open(folder)
    state = describe_state(run, record)
    changed = changed_files(run)
    parts = {"checkpoints": run.checkpoints, "model": run.output, "tensorboard": run.root / "tensorboard"}
    sizes = {name: size_of(path) for name, path in parts.items()}
    details = {
        "state": asdict(state),
        "starts": [start._asdict() for start in record.starts],
        "environment": dict(record.environment),
        "configuration": dict(record.config),
        "source": {
            "copies": [str(copy) for copy in source_copies(run)],
            "changed": changed,
            "named": name_files(changed or []),
        },
        "sizes": sizes | {"other": state.size - sum(sizes.values())},
        "checkpoints": [step for step, _ in run.numbered_checkpoints()],
        "evaluations": {split: dict(results) for split, results in record.evaluations.items()},
    }
    return details, state


def compare_runs(folder_a: Path, folder_b: Path, page: Path | None) -> dict[str, Any]:
    """In what two runs differ, and what came of it.

    Args:
        folder_a: One run.
        folder_b: The other.
        page: Where an HTML page with the curves of both goes; None for none.

    Returns:
        ``a``, ``b``, ``states``, what ``runs.comparison.compare_records`` finds, ``faults``, ``page``, and ``metrics``
        by split: a ``note`` on how they were compared, and ``rows`` by metric with ``a``, ``b``, ``difference`` and, of
        a paired test, its interval (``low``, ``high``) and ``p``.

    Raises:
        FileNotFoundError: If one is no run.
    """
    (a, record_a), (b, record_b) = _open(folder_a), _open(folder_b)
    found: dict[str, Any] = {"a": str(a.root), "b": str(b.root)}
    found |= compare_records((a, record_a), (b, record_b))
    splits = [split for split in record_a.evaluations if split in record_b.evaluations]
    found |= {
        "states": [describe_state(run, record).state for run, record in ((a, record_a), (b, record_b))],
        "metrics": {split: _compare_scores(split, (a, record_a), (b, record_b)) for split in splits},
        "faults": [*record_a.faults, *record_b.faults],
        "page": None if page is None else str(page),
    }
    if page is not None:
        from reports.runs.page import write_comparison

        write_comparison(page, found, (read_curves(a.metrics), read_curves(b.metrics)))
    return found


def rank_runs(places: Sequence[Path], prefix: Path) -> dict[str, Any]:
    """Rank runs and results, and write the leaderboard as ``PREFIX.csv``, ``.md`` and ``.html``.

    Args:
        places: Folders, whose runs are taken with those below, and files of :mod:`runs.leaderboard`.
        prefix: Of the files that are written.

    Returns:
        What ``runs.board.make_board`` returns, and ``files``.

    Raises:
        FileNotFoundError: If a folder is not there, or none holds a run.
        ValueError: If a folder cannot be read.
        OSError: If the files cannot be written.
    """
    from reports.runs.board import write_board

    entries = [entry for path in places if path.is_file() for entry in read_leaderboard(path)]
    folders = [path for path in places if not path.is_file()]
    runs = find_all(folders)
    if not runs and not entries:
        raise FileNotFoundError(f"{', '.join(map(str, places))}: no run in there; name a folder that holds some")
    records = [(run, read_record(run)) for run in runs]
    described = [(run, record, describe_state(run, record)) for run, record in records]
    measured = [*(results for _, record in records for results in record.evaluations.values())]
    measured += [entry.results for entry in entries]
    told = {name for results in measured for name, value in results["overall"].items() if value is not None}
    of_text = [name for name in DOCUMENT_METRICS if name in told]
    board = make_board(described, [*headlines(), *of_text], entries)
    for _, record in records:
        for fault in record.faults:
            logger.warning("%s", fault)
    return board | {"files": write_board(prefix, board, title=f"Runs in {', '.join(map(str, places))}")}


def add_results(board: Path, files: Sequence[Path]) -> list[dict[str, Any]]:
    """Add files of results to a leaderboard.

    Returns:
        ``name`` and ``added`` of each.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one holds no results that can be ranked; then none is added.
    """
    read = [read_evaluation(file) for file in files]
    for file, results in zip(files, read, strict=True):
        check_entry(file, results)
    added = [add_to_leaderboard(board, results) for results in read]
    return [{"name": entry.name, "added": entry.added} for entry in added]


def _open(folder: Path) -> tuple[Run, Record]:
    if not is_run(folder):
        raise FileNotFoundError(f"{folder}: holds no run; `finetune.py runs FOLDER` lists those below a folder")
    return Run(folder), read_record(Run(folder))


def _compare_scores(split: str, a: tuple[Run, Record], b: tuple[Run, Record]) -> dict[str, Any]:
    """A paired test where both have the scores of the same examples; else both numbers with their own intervals."""
    try:
        from metrics.compare import compare_files

        files = [next(file for file in evaluation_files(run) if file.stem == split) for run, _ in (a, b)]
        found = compare_files(files[0], files[1], resamples=RESAMPLES)
    except (ValueError, OSError) as error:
        return {"note": f"no paired test: {first_line(error)}", "rows": _side_by_side(split, a[1], b[1])}
    note = f"paired over {found['images']:,} images, {found['n']:,} examples; {found['level']:.0%} intervals of B - A"
    return {"note": note, "rows": found["metrics"]}


def _side_by_side(split: str, a: Record, b: Record) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name in METRICS:
        values = [get_number(record.evaluations[split], f"overall.{name}") for record in (a, b)]
        if None not in values:
            ends = [find_at(record.evaluations[split], f"confidence.overall.{name}") for record in (a, b)]
            sides = {"a": values[0], "a_interval": ends[0], "b": values[1], "b_interval": ends[1]}
            rows[name] = sides | {"difference": None}
    return rows
