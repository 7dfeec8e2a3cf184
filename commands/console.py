"""What commands share: options that make a configuration, logging, results on standard output."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configuration.groups import RunConfig
from configuration.keys import FLAG_KEYS
from configuration.loading import load_config
from pipeline.processes import rank
from utils.console import json_line

SWITCHES = {"freeze_resnet": "adds resnet to train.freeze", "cider": "self-critical training: scst.enabled=true"}


def add_configuration_options(parser: argparse.ArgumentParser) -> None:
    """``--conf`` and ``--set``."""
    parser.add_argument("--conf", required=True, type=Path, metavar="FILE", help="configuration file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, e.g. train.lr=2e-5"
    )


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the original project."""
    flags = parser.add_argument_group("flags of the original project", "each stands for a key of the configuration")
    for flag, key in FLAG_KEYS.items():
        if flag in SWITCHES:
            flags.add_argument(f"--{flag}", action="store_true", default=None, help=SWITCHES[flag])
        else:
            flags.add_argument(f"--{flag}", metavar="VALUE", help=key)


def read_config(
    options: argparse.Namespace, *, leave_out: Sequence[str] = (), default_model: str | None = None
) -> RunConfig:
    """The configuration that options describe; checks it before anything heavy is imported."""
    flags = {flag: getattr(options, flag) for flag in FLAG_KEYS if flag not in leave_out}
    return load_config(options.conf, options.set, flags, default_model=default_model)


def count(text: str) -> int:
    """An option that is a whole number of at least 1."""
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


def weight(text: str) -> float:
    """An option that is a number of at least 0."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be a number of at least 0, such as 1.5")
    return number


def add_lm_options(parser: argparse.ArgumentParser, when: str) -> None:
    """``--lm`` and its weights.

    Args:
        parser: Of the command.
        when: The captions that are written with it.
    """
    group = parser.add_argument_group("a language model of the styles beside the captioner")
    group.add_argument(
        "--lm", type=Path, metavar="FOLDER", help=f"its folder; in the captioner's vocabulary, for {when}"
    )
    group.add_argument(
        "--lm-weight", type=weight, metavar="W", help="times its log p(caption | style), added to the captioner's"
    )
    group.add_argument(
        "--lm-guidance", type=weight, metavar="W", help="times what the style adds to it, against no style, added too"
    )


def lm_weights(options: argparse.Namespace) -> dict[str, float]:
    """The weights of a language model as they were given, by the names that ``CaptionModel.fuse`` has for them.

    Raises:
        ValueError: If there are any, and no model.
    """
    given = {name: getattr(options, f"lm_{name}") for name in ("weight", "guidance")}
    for name, number in given.items():
        if number is not None and options.lm is None:
            raise ValueError(f"--lm-{name}: weighs a language model; name its folder with --lm")
    return {name: number for name, number in given.items() if number is not None}


def start_console() -> None:
    """Log to standard error, and keep the libraries quiet there."""
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from utils.logging import setup_logging

    disable_progress_bar()
    set_verbosity_error()
    setup_logging(None, rank())


def print_results(results: Mapping[str, Any]) -> None:
    """One JSON object on the last line of standard output, by one process of those that work together."""
    if rank() == 0:
        print(json_line(results), flush=True)
