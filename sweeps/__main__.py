"""Sweeps from the command line.

    python -m sweeps run 0,2,3 --conf conf/sweep.json            a trial on each of three GPUs
    python -m sweeps run 0+1,2+3 --conf conf/sweep.json          a trial on each pair of GPUs, under torchrun
    python -m sweeps run cpu,cpu --conf conf/sweep_demo.json     the tiny CPU form: two trials side by side
    python -m sweeps report work_dir/sweep                       leaderboard.csv, .json, .html and best.json again
    python -m sweeps promote work_dir/sweep                      the best model into work_dir/sweep/best
    python -m sweeps eval 0,1 work_dir/sweep --split test        trained runs again, side by side

The same command goes on with a sweep that was interrupted. The last line on standard output is the result, one JSON
object.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.board import Board
from sweeps.evaluate import evaluate_runs, find_runs
from sweeps.folder import SweepFolder, check_free, check_same_sweep, describe_plan, enter_sweep, locked, read_plan
from sweeps.halving import rungs_of
from sweeps.jobs import finetune_command, in_shell, job_of
from sweeps.leaderboard import make_leaderboard, write_leaderboard
from sweeps.local import LocalEngine
from sweeps.plan import Plan, load_plan
from sweeps.promote import promote
from sweeps.scheduler import run_sweep, stretch_of
from sweeps.slots import Slot, check_gpus, parse_slots, slot_environment
from utils.io import encode_json, parse_value
from utils.logging import setup_logging
from utils.signals import stopping_as_on_ctrl_c

logger = logging.getLogger("sweeps")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit code: 0, 1 if trials failed, 2 for a fault of the input, 130 if interrupted.
    """
    options = make_parser().parse_args(arguments)
    setup_logging(None)
    try:
        with stopping_as_on_ctrl_c():
            return int(options.command(options))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return 130


def make_parser() -> argparse.ArgumentParser:
    """Commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run a sweep, or go on with it")
    run.add_argument(
        "slots", metavar="GPU_IDS", help="0,2,3: a trial on each; 0+1,2+3: on each pair; cpu,cpu: on the CPU"
    )
    run.add_argument("--conf", type=Path, default=Path("conf/sweep.json"), metavar="FILE", help="sweep file")
    run.add_argument("--work_dir", type=Path, metavar="FOLDER", help="folder of the sweep; work_dir/<name of the file>")
    run.add_argument("--checkpoint", metavar="FOLDER", help="trained captioner that every trial starts from")
    run.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every trial, e.g. train.epochs=2"
    )
    run.add_argument("--dry-run", action="store_true", help="print the commands and start nothing")
    run.set_defaults(command=run_command)
    report = commands.add_parser("report", help="write the results of a sweep again")
    report.add_argument("folder", type=Path, metavar="SWEEP", help="folder of the sweep")
    report.set_defaults(command=report_command)
    promote = commands.add_parser("promote", help="copy the best model to where it stays")
    promote.add_argument("folder", type=Path, metavar="SWEEP", help="folder of the sweep")
    promote.add_argument("--to", type=Path, metavar="FOLDER", help="where to; SWEEP/best")
    promote.add_argument("--trial", metavar="NAME", help="another trained trial than the best")
    promote.add_argument(
        "--delete_losers", action="store_true", help="then delete the weights of all other trials; the sweep is closed"
    )
    promote.set_defaults(command=promote_command)
    evaluate = commands.add_parser("eval", help="evaluate trained runs side by side")
    evaluate.add_argument("slots", metavar="GPU_IDS", help="where they run, as above")
    evaluate.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or the folder of a sweep")
    evaluate.add_argument("--split", choices=("val", "test"), help="rows to evaluate on; each run's own if not given")
    evaluate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. decode.num_beams=3")
    evaluate.set_defaults(command=eval_command)
    return parser


def run_command(options: argparse.Namespace) -> int:
    """Run a sweep."""
    slots = parse_slots(options.slots)
    plan = load_plan(options.conf, _settings(options.set), options.checkpoint)
    folder = SweepFolder(options.work_dir or Path("work_dir") / options.conf.stem)
    if folder.plan.exists():
        check_same_sweep(folder, describe_plan(plan), plan.base)
    check_free(folder)
    if options.dry_run:
        print_commands(folder, plan, slots)
        return 0
    check_gpus(slots)
    with locked(folder):
        enter_sweep(folder, plan)
        setup_logging(folder.root / "log.txt")
        board = Board(folder, plan)
        engine = LocalEngine(slots, plan.file.retries, board)
        try:
            with board.shown():
                failures = run_sweep(folder, plan, engine, board.enter)
        finally:
            results = finish(folder, plan)
    print(encode_json(results).decode(), flush=True)
    return 1 if failures else 0


def report_command(options: argparse.Namespace) -> int:
    """Write the results of a sweep again."""
    folder = SweepFolder(options.folder)
    print(encode_json(finish(folder, read_plan(folder))).decode(), flush=True)
    return 0


def promote_command(options: argparse.Namespace) -> int:
    """Copy the best model to where it stays."""
    folder = SweepFolder(options.folder)
    plan = read_plan(folder)
    with locked(folder):
        to = options.to or folder.root / "best"
        said = promote(folder, plan, to, trial=options.trial, delete_losers=options.delete_losers)
    print(encode_json(said).decode(), flush=True)
    return 0


def eval_command(options: argparse.Namespace) -> int:
    """Evaluate trained runs."""
    slots = parse_slots(options.slots)
    runs = find_runs(options.runs)
    check_gpus(slots)
    results = evaluate_runs(runs, slots, options.split, options.set)
    print(encode_json(results).decode(), flush=True)
    return int(any("error" in result for result in results.values()))


def finish(folder: SweepFolder, plan: Plan) -> dict[str, Any]:
    """Write the results as they are now, and sum them up."""
    board = make_leaderboard(folder, plan)
    write_leaderboard(folder, plan, board)
    logger.info("results: %s", folder.root / "leaderboard.html")
    states = [row["state"] for row in board["configurations"]]
    best = board["configurations"][0]
    return {
        "sweep": str(folder.root),
        "metric": board["metric"],
        "best": best if best["state"] == "trained" else None,
        "configurations": {state: states.count(state) for state in dict.fromkeys(states)},
    }


def print_commands(folder: SweepFolder, plan: Plan, slots: Sequence[Slot]) -> None:
    """Print what the next part of a sweep would start, one command a line, and say what comes after it."""
    stretch = stretch_of(folder, plan, 0)
    for number, trial in enumerate(stretch.trials):
        slot = slots[number % len(slots)]
        command = finetune_command(job_of(folder, plan, trial, stretch.rung), len(slot.devices))
        print(in_shell(command, slot_environment(slot, slots)))
    try:
        check_gpus(slots)
    except ValueError as error:
        logger.warning("%s", error)
    for rung in rungs_of(plan)[1:]:
        until = "to the end" if rung.epochs is None else f"to {rung.epochs:g} epochs"
        logger.info("then the best %d of them %s", rung.points, until)


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--set {text}: must be key=value, for example train.epochs=2")
        settings[key.strip()] = parse_value(value)
    return settings


if __name__ == "__main__":
    sys.exit(main())
