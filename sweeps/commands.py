"""What the commands of ``python -m sweeps`` do; each returns its exit code."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.board import Board
from sweeps.engines.local import LocalEngine
from sweeps.engines.ray_cluster import check_ray
from sweeps.engines.slurm import check_not_queued, check_slurm, run_task, submit
from sweeps.engines.slurm_scripts import describe_submission
from sweeps.evaluate import evaluate_runs, find_runs
from sweeps.folder import SweepFolder, check_enterable, enter_sweep, locked, read_plan
from sweeps.halving import rungs_of
from sweeps.jobs import Engine, finetune_command, in_shell, job_of
from sweeps.leaderboard import check_ranked, make_leaderboard, write_leaderboard
from sweeps.plan import Plan, check_files, load_plan
from sweeps.promote import promote
from sweeps.scheduler import run_sweep, stretch_of
from sweeps.slots import Slot, check_gpus, parse_slots, slot_environment
from utils.io import encode_json, parse_value
from utils.logging import setup_logging

logger = logging.getLogger(__name__)


def run_command(options: argparse.Namespace) -> int:
    """Run a sweep, or go on with it."""
    for option, engine in (("address", "ray"), ("sbatch", "slurm")):
        if getattr(options, option) and options.engine != engine:
            raise ValueError(f"--{option}: is for --engine {engine}; add that, or remove this")
    slots = parse_slots(options.slots)
    plan = load_plan(options.conf, _settings(options.set), options.checkpoint)
    folder = SweepFolder(options.work_dir or Path("work_dir") / options.conf.stem)
    check_enterable(folder, plan, len(slots[0].devices))
    if options.dry_run:
        print_commands(options, folder, plan, slots)
        return 0
    check_files(plan)
    if options.engine == "local":
        check_gpus(slots)
    elif options.engine == "slurm":
        check_slurm()
    else:
        check_ray(options.address)
    with locked(folder):
        if options.engine == "slurm":
            print_json(submit(folder, plan, slots, options.sbatch))
            return 0
        return run_here(options, folder, plan, slots)


def run_here(options: argparse.Namespace, folder: SweepFolder, plan: Plan, slots: Sequence[Slot]) -> int:
    """Run a sweep on an engine that this process waits for."""
    check_not_queued(folder)
    enter_sweep(folder, plan, len(slots[0].devices))
    setup_logging(folder.root / "log.txt")
    board = Board(folder, plan)
    engine = make_engine(options, slots, plan, board)
    try:
        with board.shown():
            failures = run_sweep(folder, plan, engine, board.enter)
    finally:
        ranking = rank(folder, plan)
    print_ranking(folder, ranking)
    return 1 if failures else 0


def make_engine(options: argparse.Namespace, slots: Sequence[Slot], plan: Plan, board: Board) -> Engine:
    """The engine that was asked for."""
    if options.engine == "local":
        return LocalEngine(slots, plan.file.retries, board)
    from sweeps.engines.ray_engine import RayEngine

    return RayEngine(slots, plan.file.retries, board, options.address)


def report_command(options: argparse.Namespace) -> int:
    """Write the results of a sweep again."""
    folder = SweepFolder(options.folder)
    print_ranking(folder, rank(folder, read_plan(folder)))
    return 0


def task_command(options: argparse.Namespace) -> int:
    """Run one task of a job array."""
    (slot,) = parse_slots(options.slot)
    return run_task(SweepFolder(options.folder), options.part, options.index, slot)


def promote_command(options: argparse.Namespace) -> int:
    """Copy the best model to where it stays."""
    folder = SweepFolder(options.folder)
    plan = read_plan(folder)
    with locked(folder):
        check_not_queued(folder)
        to = options.to or folder.root / "best"
        print_json(promote(folder, plan, to, trial=options.trial, delete_losers=options.delete_losers))
    return 0


def eval_command(options: argparse.Namespace) -> int:
    """Evaluate trained runs."""
    slots = parse_slots(options.slots)
    runs = find_runs(options.runs)
    check_gpus(slots)
    results = evaluate_runs(runs, slots, options.split, options.set)
    print_json(results)
    return int(any("error" in result for result in results.values()))


def rank(folder: SweepFolder, plan: Plan) -> dict[str, Any]:
    """Rank the configurations as they are now, and write that down."""
    ranking = make_leaderboard(folder, plan)
    write_leaderboard(folder, plan, ranking)
    logger.info("results: %s", folder.root / "leaderboard.html")
    return ranking


def print_ranking(folder: SweepFolder, ranking: dict[str, Any]) -> None:
    """Sum up what came of a sweep.

    Raises:
        ValueError: If trained trials have no number to rank them by.
    """
    check_ranked(ranking)
    states = [row["state"] for row in ranking["configurations"]]
    best = ranking["configurations"][0]
    print_json(
        {
            "sweep": str(folder.root),
            "metric": ranking["metric"],
            "best": best if best["state"] == "trained" and best["metric"] is not None else None,
            "configurations": {state: states.count(state) for state in dict.fromkeys(states)},
        }
    )


def print_commands(options: argparse.Namespace, folder: SweepFolder, plan: Plan, slots: Sequence[Slot]) -> None:
    """Print what the first part of a sweep would start, one command a line, and say what comes after it."""
    if options.engine == "slurm":
        print(describe_submission(folder, plan, slots, options.sbatch))
        return
    stretch = stretch_of(folder, plan, 0)
    for number, trial in enumerate(stretch.trials):
        slot = slots[number % len(slots)]
        command = finetune_command(job_of(folder, plan, trial, stretch.rung), len(slot.devices))
        print(in_shell(command, slot_environment(slot, slots)))
    for rung in rungs_of(plan)[1:]:
        logger.info("then the best %d of them %s", rung.points, rung.goal)
    try:
        check_gpus(slots)
    except ValueError as error:
        logger.warning("%s", error)


def print_json(result: object) -> None:
    """One JSON object on the last line of standard output."""
    print(encode_json(result).decode(), flush=True)


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    settings = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ValueError(f"--set {text}: must be key=value, for example train.epochs=2")
        settings[key.strip()] = parse_value(value)
    return settings
