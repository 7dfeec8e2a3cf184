"""Write a first configuration for photos and captions of your own, with a comment for every key.

    finetune.py init my/conf.json --annotations my/annotations --images my/photos
    finetune.py init my/conf.json                                                    asks, on a terminal

The form of the annotations, the styles and the folder of the pictures are found out where they are not given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from utils import exit_codes

INTERRUPTED = "; nothing was written"
INTERRUPTED_CODE = exit_codes.INTERRUPTED
SHOWN = 8
"""Styles that are named."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    from configuration.groups import ModelConfig
    from configuration.schema import choices_of

    parser.description = __doc__
    parser.add_argument("file", type=Path, metavar="FILE", help="configuration to write; must not be there")
    parser.add_argument("--annotations", type=Path, metavar="PATH", help="file or folder of the captions")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="of the pictures")
    parser.add_argument("--format", help="of the annotations, as data.format names them")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--model", metavar="MODEL", help="folder or hub id of a captioner to start from")
    start.add_argument("--preset", choices=choices_of(ModelConfig, "preset"), help="size of a new model")


def run(options: argparse.Namespace) -> int:
    """Write the file; say what it holds on standard error, and its name on standard output."""
    file: Path = options.file
    if file.exists():
        raise FileExistsError(f"{file}: is there already; name another file, or remove it")
    annotations = options.annotations or _ask("file or folder of the captions", "--annotations")
    from configuration.loading import load_config
    from pipeline.starting import look_at_data, propose, write_commented
    from utils.io import write_text

    look = look_at_data(Path(annotations), options.images, options.format)
    groups = propose(look, options.model, options.preset)
    write_text(file, write_commented(groups, look, file))
    load_config(file)  # what is written can be read, or it is a fault of ours
    styles = ", ".join([*look.styles[:SHOWN], *["..."] * (len(look.styles) > SHOWN)])
    split = f", divided by {look.data.split}" if look.data.split else ""
    print(
        f"{look.train:,} rows to train on and {look.val:,} to validate on ({look.data.format}{split})", file=sys.stderr
    )
    print(f"{len(look.styles)} styles: {styles}", file=sys.stderr)
    print(f"next: python finetune.py check --conf {file}", file=sys.stderr)
    print(file)
    return exit_codes.FINISHED


def _ask(what: str, option: str) -> str:
    """An answer from whoever sits at the terminal.

    Raises:
        ValueError: If nobody does.
    """
    if not sys.stdin.isatty():
        raise ValueError(f"{option}: give the {what}")
    print(f"{what}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or _ask(what, option)
