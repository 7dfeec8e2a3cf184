"""Train and evaluate."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from commands.console import add_configuration_options, add_flags, print_results, read_config, start_console
from utils import exit_codes
from utils.io import encode_json

INTERRUPTED = "; the same command goes on from the last checkpoint"
INTERRUPTED_CODE = exit_codes.STOPPED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    add_configuration_options(parser)
    parser.add_argument(
        "--pause_after",
        type=_epochs,
        metavar="EPOCHS",
        help="stop at the first checkpoint at or after so many epochs (0.5, 2); the same command without it goes on",
    )
    parser.add_argument(
        "--allow-change",
        action="store_true",
        help="go on with an interrupted run though its processes, pictures or libraries have changed",
    )
    parser.add_argument(
        "--print-config", action="store_true", help="print the complete configuration as JSON, and do nothing else"
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="read the data, build the model, try a few steps; tell what the run will take, and write nothing",
    )
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Print the results of the evaluation."""
    config = read_config(options)
    if options.print_config:
        print(encode_json(config.to_json_dict(), indent=True).decode())
        return exit_codes.FINISHED
    start_console()
    if options.dry_run:
        from pipeline.rehearsal import rehearse

        print_results(rehearse(config))
        return exit_codes.FINISHED
    if config.task == "text":
        from pipeline.text.run import train_text as train
    else:
        from pipeline.train import train

    command = [Path(sys.executable).name, *sys.argv]
    print_results(train(config, command, options.conf, options.pause_after, allow_change=options.allow_change))
    return exit_codes.FINISHED


def _epochs(text: str) -> float:
    try:
        epochs = float(text)
    except ValueError:
        epochs = 0.0
    if not 0 < epochs < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be a number of epochs above 0, such as 0.5")
    return epochs
