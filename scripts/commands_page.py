"""Writes docs/commands.md: what every program says of its options.

python scripts/commands_page.py    after a change of an option; with Python 3.11, whose help looks so
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
import warnings
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from commands.table import COMMANDS  # noqa: E402
from finetune import make_parser  # noqa: E402
from utils.io import write_text  # noqa: E402

PAGE = REPOSITORY / "docs" / "commands.md"
HEAD = """\
# Commands

<!-- Written by `python scripts/commands_page.py` from what each program says to --help. Change that, not this page. -->

Results go to standard output, all else to standard error. Exit codes: [reliability.md](reliability.md#signals). What
`--set` can change: [configuration.md](configuration.md).
"""
WIDTH = "110"
"""Columns, as the environment tells argparse."""
PROGRAMS = {
    "python -m sweeps": ("sweeps", ("run", "eval", "promote", "report")),
    "python -m metrics.evaluate": ("metrics.evaluate", ()),
    "python -m metrics.compare": ("metrics.compare", ()),
    "python -m metrics.cider": ("metrics.cider", ("build-df",)),
    "python -m serving.telegram_bot": ("serving.telegram_bot", ()),
    "python -m utils.json_tool": ("utils.json_tool", ("get", "set")),
    "python -m utils.archive": ("utils.archive", ("pack", "unpack", "check", "seal")),
}
"""Beside finetune.py: the module and its commands."""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in COMMANDS:
        parts.append(_section(f"finetune.py {name}" if name != "train" else "finetune.py", _help_of(name)))
    for title, (module, commands) in PROGRAMS.items():
        parts.append(
            _section(title, "\n".join(_said(module, *asked) for asked in [(), *((name,) for name in commands)]))
        )
    return "\n".join(parts)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n```\n{text.rstrip()}\n```\n"


def _help_of(command: str) -> str:
    """Of finetune.py, without what it says of all its commands."""
    parser = make_parser(command)
    parser.description = (sys.modules[COMMANDS[command]].__doc__ or "").strip()
    parser.usage = f"finetune.py {command} [options]"
    return parser.format_help()


def _said(module: str, *arguments: str) -> str:
    said, usual = io.StringIO(), sys.argv
    sys.argv = [module, *arguments, "--help"]
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what a test has imported already
            runpy.run_module(module, run_name="__main__", alter_sys=False)
    finally:
        sys.argv = usual
    return said.getvalue()


def main() -> None:
    """Write it."""
    os.environ["COLUMNS"] = WIDTH
    write_text(PAGE, page())


if __name__ == "__main__":
    main()
