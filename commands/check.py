"""Look for what is wrong with the data of a configuration."""

from __future__ import annotations

import argparse
from pathlib import Path

from commands.console import add_configuration_options, add_flags, print_results, read_config, start_console
from utils import exit_codes

INTERRUPTED = "; pictures that were opened are not opened again"
INTERRUPTED_CODE = exit_codes.INTERRUPTED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    add_configuration_options(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where check.json and check.html go; work_dir/<run>/check if not given",
    )
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Print what was found: 0 if that is nothing, else 1."""
    config = read_config(options)
    start_console()
    from pipeline.check import check

    summary = check(config, options.out or config.work_dir / "check")
    print_results(summary)
    return exit_codes.FINISHED if summary["clean"] else exit_codes.FINDINGS
