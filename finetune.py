"""Fine-tune a captioner to speak in a style, evaluate it, caption pictures with it.

    python finetune.py --conf conf/flickrstyle.json --set train.lr=2e-5    train, then evaluate
    python finetune.py eval --conf work_dir/flickrstyle/config.json        evaluate again
    python finetune.py caption --model work_dir/demo/output --image a.jpg --all-styles
    python finetune.py lm --conf conf/lm.json                              train a language model on text
    python finetune.py sample --model work_dir/lm/output --meta romantic   texts of it
    python finetune.py init my/conf.json --annotations my/captions.jsonl   a first configuration for data of your own
    python finetune.py check --conf conf/flickrstyle.json                  what is wrong with the data
    python finetune.py doctor                                              what this machine has, and lacks
    python finetune.py encode --conf conf/lm.json                          documents of a text run to ids
    python finetune.py runs                                                list runs; show, compare, rank them
    python finetune.py watch work_dir/flickrstyle                          how training goes, live in the browser
    python finetune.py --conf conf/demo.json                               the tiny CPU form

The last line on standard output is the result: one JSON object, or one caption per line; of runs a table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from commands.table import COMMANDS, DEFAULT, Command, open_command
from utils import exit_codes
from utils.console import escape_what_cannot_be_shown
from utils.errors import Ending, Stopped, first_line
from utils.signals import requested_by, stop_requested, stopping_as_on_ctrl_c


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit code of ``utils.exit_codes``; a fault of the input is told in one message on standard error.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given.pop(0) if given and given[0] in COMMANDS else DEFAULT
    command = open_command(name)
    escape_what_cannot_be_shown()
    try:
        with stopping_as_on_ctrl_c():
            return command.run(make_parser(name).parse_intermixed_args(given))
    except (ValueError, OSError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        print(f"error: {error}{notes}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    except Ending as ending:
        print(str(ending) if isinstance(ending, Stopped) else f"failed: {ending}", file=sys.stderr)
        return ending.exit_code
    except KeyboardInterrupt:
        return _interrupted(command)
    except Exception as error:
        if not stop_requested():
            raise
        # Processes that work together were all told to stop, and one was sooner gone than another had heard it.
        return _interrupted(command, f" ({first_line(error)})")


def _interrupted(command: Command, why: str = "") -> int:
    print(f"interrupted by {requested_by()}{command.INTERRUPTED}{why}", file=sys.stderr)
    return command.INTERRUPTED_CODE


def make_parser(command: str) -> argparse.ArgumentParser:
    """Options of one command."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"finetune.py [{' | '.join(COMMANDS)}] [options]",
    )
    open_command(command).add_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
