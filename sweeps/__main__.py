"""Sweeps from the command line.

    python -m sweeps run 0,2,3 --conf conf/sweep.json            a trial on each of three GPUs
    python -m sweeps run 0+1,2+3 --conf conf/sweep.json          a trial on each pair of GPUs, under torchrun
    python -m sweeps run cpu,cpu --conf conf/sweep_demo.json     the tiny CPU form: two trials side by side
    python -m sweeps report work_dir/sweep                       leaderboard.csv, .json, .html and best.json again
    python -m sweeps promote work_dir/sweep                      the best model into work_dir/sweep/best
    python -m sweeps eval 0,1 work_dir/demo work_dir/demo_scst   trained runs again, side by side

The same command goes on with a sweep that was interrupted. The last line on standard output is the result, one JSON
object.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sweeps import commands
from sweeps.engines.table import ENGINES
from utils import exit_codes
from utils.console import give_up_output
from utils.logging import setup_logging
from utils.signals import stopping_as_on_ctrl_c


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
    except BrokenPipeError:  # as in `--dry-run | head`
        give_up_output()
        return exit_codes.FINISHED
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return exit_codes.INTERRUPTED


def make_parser() -> argparse.ArgumentParser:
    """Commands and their options."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(subparsers.add_parser("run", help="run a sweep, or go on with it"))
    _add_promote(subparsers.add_parser("promote", help="copy the best model to where it stays"))
    _add_eval(subparsers.add_parser("eval", help="evaluate trained runs side by side"))
    report = subparsers.add_parser("report", help="write the results of a sweep again")
    report.add_argument("folder", type=Path, metavar="SWEEP", help="folder of the sweep")
    report.set_defaults(command=commands.report_command)
    task = subparsers.add_parser("task", help="what the job arrays of --engine slurm run")
    task.add_argument("folder", type=Path, metavar="SWEEP", help="folder of the sweep")
    task.add_argument("--stretch", "--part", type=int, required=True, help="stretch of the sweep, from 1")
    task.add_argument("--index", type=int, required=True, help="place of the trial in it, from 0")
    task.add_argument("--slot", required=True, help="where it runs, one of GPU_IDS")
    task.set_defaults(command=commands.task_command)
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "slots", metavar="GPU_IDS", help="where trials run, as above; on a cluster, how many and how wide"
    )
    parser.add_argument("--conf", type=Path, default=Path("conf/sweep.json"), metavar="FILE", help="sweep file")
    parser.add_argument("--work_dir", type=Path, metavar="FOLDER", help="of the sweep; work_dir/<name of the file>")
    parser.add_argument("--checkpoint", metavar="FOLDER", help="trained captioner that every trial starts from")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of every trial, e.g. train.epochs=2"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands and start nothing")
    default, *_ = ENGINES
    parser.add_argument("--engine", choices=tuple(ENGINES), default=default, help="this machine, or a cluster")
    for entry in ENGINES.values():
        if entry.option:
            parser.add_argument(f"--{entry.option}", default="", metavar=entry.metavar, help=entry.help)
    parser.set_defaults(command=commands.run_command)


def _add_promote(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="SWEEP", help="folder of the sweep")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where to; SWEEP/best")
    parser.add_argument("--trial", metavar="NAME", help="another trained trial than the best")
    parser.add_argument(
        "--delete_losers", action="store_true", help="then delete the weights of all other trials; the sweep is closed"
    )
    parser.set_defaults(command=commands.promote_command)


def _add_eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slots", metavar="GPU_IDS", help="where they run, as above")
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folders, or the folder of a sweep")
    parser.add_argument("--split", choices=("val", "test"), help="rows to evaluate on; each run's own if not given")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="e.g. decode.num_beams=3")
    parser.set_defaults(command=commands.eval_command)


if __name__ == "__main__":
    sys.exit(main())
