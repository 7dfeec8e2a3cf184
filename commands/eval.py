"""Evaluate a trained model."""

from __future__ import annotations

import argparse

from commands.console import add_configuration_options, add_flags, print_results, read_config, start_console
from utils import exit_codes

INTERRUPTED = ""
INTERRUPTED_CODE = exit_codes.STOPPED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    add_configuration_options(parser)
    parser.add_argument("--split", choices=("val", "test"), help="rows to evaluate on; eval.split if not given")
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Print the results of the evaluation."""
    if options.split:
        options.set.append(f"eval.split={options.split}")
    # What training starts from is not opened: the file's own stays for the record, and need not be given.
    trained = options.checkpoint or "output"
    config = read_config(options, leave_out=("checkpoint", "cider"), default_model=trained)
    start_console()
    if config.task == "text":
        from pipeline.text.evaluate import evaluate_text as evaluate
    else:
        from pipeline.evaluate import evaluate

    print_results(evaluate(config, options.checkpoint))
    return exit_codes.FINISHED
