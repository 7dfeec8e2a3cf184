"""Fine-tune OFA to caption in a style, evaluate it, caption pictures with it.

    python finetune.py --conf conf/flickrstyle.json --set train.lr=2e-5    train, then evaluate
    python finetune.py eval --conf work_dir/flickrstyle/config.json        evaluate again
    python finetune.py caption --model work_dir/demo/output --image a.jpg --all-styles
    python finetune.py --conf conf/demo.json                               the tiny CPU form

The last line on standard output is the result: one JSON object, or one caption per line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from configuration.loading import FLAG_KEYS, RunConfig, load_config
from utils.signals import stopping_as_on_ctrl_c

COMMANDS = ("train", "eval", "caption")
SWITCHES = {"freeze_resnet": "adds resnet to train.freeze", "cider": "self-critical training: scst.enabled=true"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        Exit code: 0, or 2 for a fault of the input, told in one message on standard error.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = given.pop(0) if given and given[0] in COMMANDS else "train"
    options = make_parser(command).parse_args(given)
    try:
        with stopping_as_on_ctrl_c():
            return {"train": run_train, "eval": run_eval, "caption": run_caption}[command](options)
    except (ValueError, OSError) as error:
        notes = "".join(f" ({note})" for note in getattr(error, "__notes__", ()))
        print(f"error: {error}{notes}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        hint = "; the same command goes on from the last checkpoint" if command == "train" else ""
        print(f"interrupted{hint}", file=sys.stderr)
        return 130


def make_parser(command: str) -> argparse.ArgumentParser:
    """Options of one command."""
    usage = "finetune.py [train | eval | caption] [options]"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=usage
    )
    if command == "caption":
        parser.add_argument("--model", required=True, metavar="FOLDER", help="model folder, e.g. work_dir/demo/output")
        parser.add_argument("--image", required=True, nargs="+", type=Path, metavar="FILE", help="pictures to caption")
        style = parser.add_mutually_exclusive_group()
        style.add_argument("--style", help="style of the captions; the neutral one if not given")
        style.add_argument("--all-styles", action="store_true", help="one caption in every style")
        return parser
    parser.add_argument("--conf", required=True, type=Path, metavar="FILE", help="configuration file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, e.g. train.lr=2e-5"
    )
    if command == "eval":
        parser.add_argument("--split", choices=("val", "test"), help="rows to evaluate on; eval.split if not given")
    if command == "train":
        parser.add_argument(
            "--pause_after",
            type=_epochs,
            metavar="EPOCHS",
            help="stop at the first checkpoint at or after so many epochs"
            " (0.5, 2); the same command without it goes on",
        )
    flags = parser.add_argument_group("flags of the original project", "each stands for a key of the configuration")
    for flag, key in FLAG_KEYS.items():
        if flag in SWITCHES:
            flags.add_argument(f"--{flag}", action="store_true", default=None, help=SWITCHES[flag])
        else:
            flags.add_argument(f"--{flag}", metavar="VALUE", help=key)
    return parser


def _epochs(text: str) -> float:
    try:
        epochs = float(text)
    except ValueError:
        epochs = 0.0
    if not 0 < epochs < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be a number of epochs above 0, such as 0.5")
    return epochs


def read_config(
    options: argparse.Namespace, *, leave_out: Sequence[str] = (), default_model: str | None = None
) -> RunConfig:
    """The configuration that options describe; checks it before anything heavy is imported."""
    flags = {flag: getattr(options, flag) for flag in FLAG_KEYS if flag not in leave_out}
    return load_config(options.conf, options.set, flags, default_model=default_model)


def run_train(options: argparse.Namespace) -> int:
    """Train and evaluate."""
    config = read_config(options)
    start_console()
    from pipeline.train import rank, train

    results = train(config, [Path(sys.executable).name, *sys.argv], options.conf, options.pause_after)
    if rank() == 0:
        print_json(results)
    return 0


def run_eval(options: argparse.Namespace) -> int:
    """Evaluate a trained model."""
    if options.split:
        options.set.append(f"eval.split={options.split}")
    # What training starts from is not opened: the file's own stays for the record, and need not be given.
    trained = options.checkpoint or "output"
    config = read_config(options, leave_out=("checkpoint", "cider"), default_model=trained)
    start_console()
    from pipeline.train import evaluate, rank

    results = evaluate(config, options.checkpoint)
    if rank() == 0:
        print_json(results)
    return 0


def run_caption(options: argparse.Namespace) -> int:
    """Print captions: the caption alone for one picture and style, else with what it belongs to."""
    start_console()
    from pipeline.train import caption_images

    rows = caption_images(options.model, options.image, options.style, all_styles=options.all_styles)
    for path, style, caption in rows:
        labels = ([str(path)] if len(options.image) > 1 else []) + ([style] if options.all_styles else [])
        print("\t".join([*labels, caption]))
    return 0


def start_console() -> None:
    """Log to standard error, and keep the libraries quiet there."""
    import os

    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from utils.logging import setup_logging

    disable_progress_bar()
    set_verbosity_error()
    setup_logging(None, int(os.environ.get("RANK", "0")))


def print_json(results: object) -> None:
    """One JSON object on the last line of standard output."""
    from utils.io import encode_json

    print(encode_json(results).decode(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
