"""List runs, show one, compare two, rank them, keep results.

    finetune.py runs [FOLDER ...]                                 work_dir, if no folder is named
    finetune.py runs show RUN
    finetune.py runs compare A B [--out PAGE.html]                the page has the curves of both
    finetune.py runs leaderboard [PLACE ...] [--out PREFIX]       PREFIX.csv, PREFIX.md and PREFIX.html
    finetune.py runs add BOARD.jsonl RESULTS.json ...             results that stay in a leaderboard, of any program

A place of the leaderboard is a folder with runs, or such a file.
A table for people, or with --json one JSON object on one line.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from utils import exit_codes

INTERRUPTED = ""
INTERRUPTED_CODE = exit_codes.INTERRUPTED
DEFAULT_FOLDER = Path("work_dir")
BOARD_NAME = "runs"
"""Of the leaderboard's files, in the first folder; a sweep has a leaderboard of its own there."""
Answer = tuple[Mapping[str, Any], str]
"""What is found, and the same for people."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.description = __doc__
    parser.add_argument(
        "words", nargs="*", metavar="WORD", help=f"{', '.join(ACTIONS)} (list, if none is given), then folders"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="where the page of compare, or the files of leaderboard, go"
    )


def run(options: argparse.Namespace) -> int:
    """Print what was asked for."""
    from pipeline.processes import rank
    from utils.console import json_line
    from utils.logging import setup_logging

    setup_logging(None, rank())
    words = list(options.words)
    action = words.pop(0) if words and words[0] in ACTIONS else "list"
    if options.out is not None and action not in WITH_OUT:
        raise ValueError(f"--out: is for {' and '.join(WITH_OUT)}; remove it")
    found, text = ACTIONS[action]([Path(word) for word in words], options.out)
    print(json_line(found) if options.json else text, flush=True)
    return exit_codes.FINISHED


def _list(folders: Sequence[Path], out: Path | None) -> Answer:
    from pipeline.runs import list_runs
    from reports.runs.text import list_text

    states = list_runs(folders or [DEFAULT_FOLDER])
    return {"runs": [asdict(state) for state in states]}, list_text(states)


def _show(folders: Sequence[Path], out: Path | None) -> Answer:
    from pipeline.runs import show_run
    from reports.runs.text import show_text

    _check_count("show", folders, "RUN")
    details, state = show_run(folders[0])
    return details, show_text(details, state)


def _compare(folders: Sequence[Path], out: Path | None) -> Answer:
    from pipeline.runs import compare_runs
    from reports.runs.text import compare_text

    _check_count("compare", folders, "A B")
    found = compare_runs(folders[0], folders[1], out)
    hint = "--out PAGE.html draws the curves of both" if out is None else f"page: {out}"
    return found, f"{compare_text(found)}\n\n{hint}"


def _leaderboard(folders: Sequence[Path], out: Path | None) -> Answer:
    from pipeline.runs import rank_runs
    from reports.runs.board import to_markdown

    places = folders or [DEFAULT_FOLDER]
    usual = places[0].with_suffix("") if places[0].is_file() else places[0] / BOARD_NAME
    board = rank_runs(places, usual if out is None else out)
    return board, to_markdown(board, "Runs") + "\n" + "\n".join(board["files"].values())


def _add(files: Sequence[Path], out: Path | None) -> Answer:
    from pipeline.runs import add_results

    if len(files) < 2:
        raise ValueError(
            "runs add: give BOARD.jsonl RESULTS.json, as in `finetune.py runs add BOARD.jsonl RESULTS.json`"
        )
    added = add_results(files[0], files[1:])
    return {"board": str(files[0]), "added": added}, "\n".join(f"{files[0]}: {entry['name']}" for entry in added)


def _check_count(action: str, folders: Sequence[Path], wanted: str) -> None:
    if len(folders) != len(wanted.split()):
        raise ValueError(f"runs {action}: give {wanted}, as in `finetune.py runs {action} {wanted}`")


ACTIONS: Mapping[str, Callable[[Sequence[Path], Path | None], Answer]] = {
    "list": _list,
    "show": _show,
    "compare": _compare,
    "leaderboard": _leaderboard,
    "add": _add,
}
WITH_OUT = ("compare", "leaderboard")
