"""Train and evaluate a language model on documents.

    finetune.py lm --conf conf/lm.json

What `finetune.py train` does with "task": "text", which this command sets.
"""

from __future__ import annotations

import argparse

from commands import train
from utils import exit_codes

INTERRUPTED = train.INTERRUPTED
INTERRUPTED_CODE = exit_codes.STOPPED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.description = __doc__
    train.add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Print the results of the evaluation."""
    options.set.append("task=text")
    return train.run(options)
