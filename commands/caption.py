"""Caption pictures."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from captioning.outputs.table import FORMATS, format_for
from commands.console import add_lm_options, count, lm_weights, start_console, weight
from utils import exit_codes
from utils.console import give_up_output

if TYPE_CHECKING:
    from captioning.job import Outcome
    from captioning.model import CaptionModel
    from captioning.outputs.target import Target
    from captioning.wanted import WantedPicture
    from captioning.writing import Writing

logger = logging.getLogger("commands.caption")

INTERRUPTED = "; captions made until then are written, and --skip-existing goes on with .jsonl and sidecar files"
INTERRUPTED_CODE = exit_codes.INTERRUPTED
STANDARD_INPUT = "-"
WRITING: dict[str, tuple[type, str]] = {
    "num": (int, "captions of each picture and style; the best of a beam search, or as many draws"),
    "num_beams": (int, "of the beam search; 1 is greedy"),
    "max_length": (int, "most tokens of a caption"),
    "min_length": (int, "fewest tokens, of the beam search"),
    "no_repeat_ngram_size": (int, "no n-gram of this length occurs twice, in the beam search; 0 is off"),
    "length_penalty": (float, "exponent of the length that a beam's score is divided by"),
    "temperature": (float, "of draws"),
    "top_p": (float, "of draws: from the likeliest tokens that together have this probability"),
    "seed": (int, "of draws"),
}
"""Numbers of ``captioning.writing.Writing``, each an option; what is not given is as the model folder says."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("--model", required=True, metavar="FOLDER", help="model folder, e.g. work_dir/demo/output")
    parser.add_argument("--kind", metavar="NAME", help="package.module:Class of a captioner of your own")
    what = parser.add_argument_group("what is captioned")
    what.add_argument(
        "--image",
        nargs="+",
        default=[],
        type=Path,
        metavar="PATH",
        help="pictures, folders with everything below them, containers as .tar; - reads a list from standard input",
    )
    what.add_argument(
        "--list",
        type=Path,
        metavar="FILE",
        help='JSON or JSON Lines of {"image" or "image_hash", "style"?, "reference"?}, or a path a line; - as above',
    )
    what.add_argument("--images", type=Path, metavar="FOLDER", help="where the pictures of a list lie; else beside it")
    what.add_argument("--interactive", action="store_true", help="ask for picture and style again and again")
    _add_styles(parser)
    _add_results(parser)


def _add_styles(parser: argparse.ArgumentParser) -> None:
    style = parser.add_argument_group("how").add_mutually_exclusive_group()
    style.add_argument(
        "--style",
        action="append",
        default=[],
        help="style of the captions, or several in one as in romantic+humorous; again for captions in further styles; "
        "the neutral one if not given",
    )
    style.add_argument("--all-styles", action="store_true", help="captions in every style")
    how = parser.add_argument_group("how, as the model folder says unless given")
    how.add_argument(
        "--guidance", type=weight, metavar="W", help="weight of the style against the neutral one; 1 is off"
    )
    how.add_argument("--prefix", metavar="TEXT", help='every caption goes on from it, as in --prefix "oh my love"')
    how.add_argument("--sampling", choices=("beam", "multinomial"), help="multinomial draws from the model's chances")
    for name, (kind, meaning) in WRITING.items():
        how.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=meaning)
    how.add_argument("--batch-size", type=count, default=16, metavar="N", help="captions worked on at once (16)")
    add_lm_options(parser, "these captions")


def _add_results(parser: argparse.ArgumentParser) -> None:
    results = parser.add_argument_group("where captions go")
    known = "; ".join(f"{name}: {entry.meaning}" for name, entry in FORMATS.items())
    results.add_argument("--format", choices=FORMATS, help=f"{known}; else by the suffix of --out, or text")
    results.add_argument("--out", type=Path, metavar="PATH", help="file, or folder of sidecars; else standard output")
    existing = results.add_mutually_exclusive_group()
    existing.add_argument("--skip-existing", action="store_true", help="caption only what jsonl or sidecar files lack")
    existing.add_argument("--overwrite", action="store_true", help="replace what is there")


def run(options: argparse.Namespace) -> int:
    """Write captions: 0 if every picture has them, 1 if some could not be read."""
    try:
        return _ask(options) if options.interactive else _caption(options)
    except BrokenPipeError:  # as in `| head`
        give_up_output()
        return exit_codes.FINISHED


def _caption(options: argparse.Namespace) -> int:
    if not options.image and options.list is None:
        raise ValueError("nothing to caption: give --image, --list or --interactive")
    name = format_for(options.format, options.out)
    if options.out is None and sys.stdout is None:
        raise ValueError("standard output is closed; name a file with --out")
    pictures = _pictures(options)
    start_console()
    from captioning.job import caption_into
    from captioning.outputs.table import open_output

    model, writing = _open(options)
    target = _target(options, model, writing, pictures)
    model.check(writing, {style for picture in target.pictures for style in picture.styles()})
    progress = sys.stderr if sys.stderr.isatty() else None
    output = open_output(name, target)
    outcome = caption_into(output, model, target.pictures, writing, batch_size=options.batch_size, progress=progress)
    _tell(outcome, is_file=options.out is not None or name == "sidecar")
    return exit_codes.PARTLY if outcome.failed else exit_codes.FINISHED


def _ask(options: argparse.Namespace) -> int:
    if options.list or options.out or options.format:
        raise ValueError("--interactive: prints captions; leave --list, --out and --format out")
    start_console()
    from commands.asking import ask

    model, writing = _open(options)
    styles = [*model.styles] if options.all_styles else [model.style(style) for style in options.style]
    return ask(model, writing, styles, options.image[0] if options.image else None)


def _open(options: argparse.Namespace) -> tuple[CaptionModel, Writing]:
    from captioning.model import CaptionModel
    from captioning.writing import Writing

    weights = lm_weights(options)
    if options.lm is not None and not any(weights.values()):
        raise ValueError(f"--lm {options.lm}: changes nothing by itself; give --lm-weight or --lm-guidance above 0")
    names = ("guidance", "prefix", "sampling", *WRITING)
    writing = Writing(**{name: value for name in names if (value := getattr(options, name)) is not None})
    model = CaptionModel.open(options.model, kind=options.kind)
    if options.lm is not None:
        model.fuse(options.lm, **weights)
    model.check(writing)
    if doubt := model.doubt_of(writing):
        logger.warning("%s: %s; the captions may be anything", options.model, doubt)
    return model, writing


def _pictures(options: argparse.Namespace) -> list[WantedPicture]:
    from captioning.sources import find_pictures, read_list
    from captioning.wanted import merged
    from utils.io import read_bytes

    found = find_pictures([path for path in options.image if str(path) != STANDARD_INPUT])
    if options.list is not None and str(options.list) != STANDARD_INPUT:
        found += read_list(read_bytes(options.list), str(options.list), options.images or options.list.parent)
    if STANDARD_INPUT in map(str, (*options.image, options.list)):
        if sys.stdin is None:
            raise ValueError("standard input is closed; name a file with --list")
        found += read_list(sys.stdin.buffer.read(), "standard input", options.images or Path())
    return merged(found)


def _target(
    options: argparse.Namespace, model: CaptionModel, writing: Writing, pictures: Sequence[WantedPicture]
) -> Target:
    from captioning.outputs.target import Target
    from captioning.wanted import in_styles
    from commands.gallery import page_writer

    asked = {request.style for picture in pictures for request in picture.requests}
    styles = [*model.styles] if options.all_styles else [*map(model.style, options.style)]
    if not styles and None in asked:
        styles = [model.style(None)]
    usual = list(dict.fromkeys(styles))
    is_one = len(pictures) == 1 and options.image == [pictures[0].path]
    return Target(
        out=options.out,
        stream=sys.stdout,
        pictures=in_styles(pictures, usual, model.style),
        skip_existing=options.skip_existing,
        overwrite=options.overwrite,
        names_pictures=not is_one,
        names_styles=options.all_styles or len(usual) > 1 or asked != {None},
        write_page=page_writer(model, writing),
    )


def _tell(outcome: Outcome, *, is_file: bool) -> None:
    """What it came to, unless that is on standard output for all to see."""
    failed = f"; could not be captioned, as told above: {outcome.failed:,}" if outcome.failed else ""
    there = f"; had everything already: {outcome.there:,}" if outcome.there else ""
    if is_file or (failed and outcome.pictures):
        done = f"{outcome.pictures:,} captioned ({outcome.captions:,} captions)"
        logger.info("pictures: %s%s%s", done, there, failed)
