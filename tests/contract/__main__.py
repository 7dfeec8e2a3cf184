"""Hold a plug-in of your own against what StyleCap asks of it (docs/plugins.md).

    python -m tests.contract my.module:MyModel                      a captioner, made anew in a small size
    python -m tests.contract my.module:MyModel --model FOLDER       a captioner from a folder
    python -m tests.contract my.module:open_it --documents PATH     a source of documents, on a file or folder of them
    python -m tests.contract my.module:my_term --reward             a reward term

A line for each clause: passed, or failed and why. Exit code 0 if all passed, 1 if not, 2 if there is nothing to check.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from models import captioner_class
from preprocessors.documents.table import opener_of
from tests.contract import documents, keeping, rewards, scoring, writing
from tests.contract.clauses import Outcome, check, describe
from tests.contract.subject import subject_of
from trainers.rewards.table import prepare_of
from utils import exit_codes

CAPTIONER = (*scoring.CLAUSES, *writing.CLAUSES, *keeping.CLAUSES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.contract", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="MODULE:NAME", help="the plug-in")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--model", type=Path, metavar="FOLDER", help="open the captioner from this folder")
    what.add_argument("--documents", type=Path, metavar="PATH", help="it opens documents, such as these")
    what.add_argument("--reward", action="store_true", help="it prepares a reward term")
    options = parser.parse_args(arguments)
    try:
        outcomes = _check(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    print(describe(outcomes))
    return exit_codes.FAULT if any(one.why for one in outcomes) else exit_codes.FINISHED


def _check(options: argparse.Namespace) -> list[Outcome]:
    if options.reward:
        return check(rewards.CLAUSES, rewards.Subject(prepare_of(options.name)))
    if options.documents is not None:
        return check(documents.CLAUSES, documents.Subject(opener_of(options.name), options.documents))
    return check(CAPTIONER, subject_of(captioner_class(options.name), options.model))


if __name__ == "__main__":
    sys.exit(main())
