"""The commands of finetune.py: one file and one entry each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

COMMANDS: Mapping[str, str] = {
    "train": "commands.train",
    "lm": "commands.lm",
    "eval": "commands.eval",
    "caption": "commands.caption",
    "sample": "commands.sample",
    "check": "commands.check",
    "doctor": "commands.doctor",
    "encode": "commands.encode",
    "init": "commands.init",
    "runs": "commands.runs",
    "serve": "commands.serve",
    "watch": "commands.watch",
}
"""By name the module that holds the command; only the one that is asked for is imported."""
DEFAULT = "train"


class Command(Protocol):
    """What a command's module has. Importing it, and adding its options, loads no heavy library."""

    INTERRUPTED: str
    """What to say behind "interrupted" when it is stopped."""
    INTERRUPTED_CODE: int
    """Exit code then: ``STOPPED`` if the same command goes on, else ``INTERRUPTED``."""

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        """Describe the options."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it and return the exit code; what it found goes to standard output.

        Raises:
            ValueError: If the input cannot be used.
            OSError: If a file cannot be used.
        """


def open_command(name: str) -> Command:
    """The command of that name, one of ``COMMANDS``."""
    return cast(Command, import_module(COMMANDS[name]))
