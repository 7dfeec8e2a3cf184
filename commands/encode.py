"""Encode the documents of a text run, which its training would do otherwise."""

from __future__ import annotations

import argparse

from commands.console import add_configuration_options, add_flags, print_results, read_config
from pipeline.processes import rank
from utils import exit_codes
from utils.logging import setup_logging

INTERRUPTED = "; what is encoded stays, run the same command again"
INTERRUPTED_CODE = exit_codes.STOPPED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    add_configuration_options(parser)
    add_flags(parser)


def run(options: argparse.Namespace) -> int:
    """Print what was encoded, how fast and in how much memory."""
    config = read_config(options)
    setup_logging(None, rank())  # without the libraries of models, which would take more memory than encoding
    from pipeline.encode import encode_documents

    print_results(encode_documents(config))
    return exit_codes.FINISHED
