"""What the commands of ``python -m sweeps`` do; each returns its exit code."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sweeps.engines.table import ENGINES, EngineKind, check_not_held, open_engine
from sweeps.evaluate import evaluate_runs, find_runs
from sweeps.promote import promote
from sweeps.standings.board import Board
from sweeps.standings.leaderboard import check_ranked, make_leaderboard, write_leaderboard
from sweeps.trials.folder import SweepFolder, check_enterable, enter_sweep, locked, read_plan
from sweeps.trials.halving import stretches_of
from sweeps.trials.jobs import finetune_command, in_shell, job_of
from sweeps.trials.plan import Plan, check_files, load_plan
from sweeps.trials.scheduler import run_sweep, stretch_of
from sweeps.trials.slots import Slot, check_gpus, parse_slots, slot_environment
from utils import exit_codes
from utils.io import encode_json, parse_value
from utils.logging import setup_logging

logger = logging.getLogger(__name__)


def run_command(options: argparse.Namespace) -> int:
    """Run a sweep, or go on with it."""
    for name, entry in ENGINES.items():
        if entry.option and getattr(options, entry.option) and options.engine != name:
            raise ValueError(f"--{entry.option}: is for --engine {name}; add that, or remove this")
    engine, option = open_engine(options.engine), _own_option(options)
    slots = parse_slots(options.slots)
    plan = load_plan(options.conf, _settings(options.set), options.checkpoint)
    folder = SweepFolder(options.work_dir or Path("work_dir") / options.conf.stem)
    check_enterable(folder, plan, len(slots[0].devices))
    if options.dry_run and engine.describe is not None:
        print(engine.describe(folder, plan, slots, option))
        return exit_codes.FINISHED
    if options.dry_run:
        print_commands(folder, plan, slots)
        return exit_codes.FINISHED
    check_files(plan)
    engine.check(slots, option)
    with locked(folder):
        check_not_held(folder)
        if engine.submit is not None:
            print_json(engine.submit(folder, plan, slots, option))
            return exit_codes.FINISHED
        return run_here(engine, option, folder, plan, slots)


def run_here(kind: EngineKind, option: str, folder: SweepFolder, plan: Plan, slots: Sequence[Slot]) -> int:
    """Run a sweep on an engine that this process waits for."""
    enter_sweep(folder, plan, len(slots[0].devices))
    setup_logging(folder.root / "log.txt")
    board = Board(folder, plan)
    assert kind.make is not None, "an engine is waited for, or sweeps are handed over to it"
    engine = kind.make(slots, plan.file.retries, board, option)
    try:
        with board.shown():
            failures = run_sweep(folder, plan, engine, board.enter)
    finally:
        ranking = rank(folder, plan)
    print_ranking(folder, ranking)
    return exit_codes.FAULT if failures else exit_codes.FINISHED


def _own_option(options: argparse.Namespace) -> str:
    name = ENGINES[options.engine].option
    return (getattr(options, name) or "") if name else ""


def report_command(options: argparse.Namespace) -> int:
    """Write the results of a sweep again."""
    folder = SweepFolder(options.folder)
    print_ranking(folder, rank(folder, read_plan(folder)))
    return exit_codes.FINISHED


def task_command(options: argparse.Namespace) -> int:
    """Run one task of a job array."""
    from sweeps.engines.slurm import run_task

    (slot,) = parse_slots(options.slot)
    return run_task(SweepFolder(options.folder), options.stretch, options.index, slot)


def promote_command(options: argparse.Namespace) -> int:
    """Copy the best model to where it stays."""
    folder = SweepFolder(options.folder)
    plan = read_plan(folder)
    with locked(folder):
        check_not_held(folder)
        to = options.to or folder.root / "best"
        print_json(promote(folder, plan, to, trial=options.trial, delete_losers=options.delete_losers))
    return exit_codes.FINISHED


def eval_command(options: argparse.Namespace) -> int:
    """Evaluate trained runs."""
    slots = parse_slots(options.slots)
    runs = find_runs(options.runs)
    check_gpus(slots)
    results = evaluate_runs(runs, slots, options.split, options.set)
    print_json(results)
    return exit_codes.FAULT if any("error" in result for result in results.values()) else exit_codes.FINISHED


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


def print_commands(folder: SweepFolder, plan: Plan, slots: Sequence[Slot]) -> None:
    """Print what the first stretch of a sweep would start, one command a line, and say what comes after it."""
    stretch = stretch_of(folder, plan, 0)
    for number, trial in enumerate(stretch.trials):
        slot = slots[number % len(slots)]
        command = finetune_command(job_of(folder, plan, trial, stretch.epochs), len(slot.devices))
        print(in_shell(command, slot_environment(slot, slots)))
    for later in stretches_of(plan)[1:]:
        logger.info("then the best %d of them %s", later.points, later.goal)
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
