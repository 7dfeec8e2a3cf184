"""Caption pictures."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from commands.console import start_console
from utils import exit_codes

logger = logging.getLogger(__name__)

INTERRUPTED = ""
INTERRUPTED_CODE = exit_codes.INTERRUPTED


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--model", required=True, metavar="FOLDER", help="model folder, e.g. work_dir/demo/output")
    parser.add_argument("--image", required=True, nargs="+", type=Path, metavar="FILE", help="pictures to caption")
    style = parser.add_mutually_exclusive_group()
    style.add_argument(
        "--style", help="style of the captions, or several as in romantic+humorous; the neutral one if not given"
    )
    style.add_argument("--all-styles", action="store_true", help="one caption in every style")
    parser.add_argument(
        "--guidance",
        type=_weight,
        metavar="W",
        help="weight of the style against the neutral one; as trained if not given",
    )


def run(options: argparse.Namespace) -> int:
    """Print captions: the caption alone for one picture and style, else with what it belongs to."""
    start_console()
    from captioning.model import CaptionModel
    from captioning.writing import Writing

    model, writing = CaptionModel.open(options.model), Writing(guidance=options.guidance)
    if doubt := model.doubt_of(writing):
        logger.warning("%s: %s; the captions may be anything", options.model, doubt)
    found = model.caption(options.image, "all" if options.all_styles else options.style, writing)
    for path, captions in zip(options.image, found, strict=True):
        for style, (caption,) in captions.items():
            labels = ([str(path)] if len(options.image) > 1 else []) + ([style] if options.all_styles else [])
            print("\t".join([*labels, caption.text]))
    return exit_codes.FINISHED


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be a number of at least 0, such as 1.5")
    return weight
