"""Write texts with a language model.

    finetune.py sample --model work_dir/lm/output --meta romantic --num 4
    finetune.py sample --model work_dir/lm/output --prompt "a dog" --top-k 50 --json
    finetune.py sample --model work_dir/lm/output --interactive

The settings come first, then the texts; with --json each is a JSON object on a line, its settings beside it. Equal
settings and seed give equal texts.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from commands.console import count, start_console
from utils import exit_codes
from utils.console import give_up_output, json_line

if TYPE_CHECKING:
    from captioning.texts import TextWriter

INTERRUPTED = ""
INTERRUPTED_CODE = exit_codes.INTERRUPTED
RULES: dict[str, tuple[type, str]] = {
    "temperature": (float, "divides the logits (1)"),
    "top_k": (int, "draw from so many likeliest tokens; 1 is greedy (all)"),
    "top_p": (float, "draw from the likeliest tokens that together have this probability (1)"),
    "repetition_penalty": (float, "divides the logits of tokens that are there already; 1 is off (1)"),
    "no_repeat_ngram_size": (int, "no n-gram of this length occurs twice; 0 is off (0)"),
}
"""Numbers of ``models.style_lm.sampling.Sampling``, each an option."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.description = __doc__
    parser.add_argument(
        "--model", required=True, metavar="FOLDER", help="of a language model: RUN/output, a checkpoint"
    )
    parser.add_argument("--meta", metavar="STYLE", help="style, or words, that the texts are in; none if not given")
    parser.add_argument("--prompt", default="", metavar="TEXT", help="every text goes on from it")
    parser.add_argument("--interactive", action="store_true", help="ask for style and beginning again and again")
    parser.add_argument("--num", type=count, default=4, metavar="N", help="texts (4)")
    parser.add_argument(
        "--length", type=count, metavar="N", help="most tokens of a text (64, or what the model has positions for)"
    )
    for name, (kind, meaning) in RULES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=meaning)
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draws (0)")
    parser.add_argument("--batch-size", type=count, default=32, metavar="N", help="texts worked on at once (32)")
    parser.add_argument("--device", help="such as cpu or cuda:1; a GPU where there is one, if not given")
    parser.add_argument("--json", action="store_true", help="a JSON object for each text")


def run(options: argparse.Namespace) -> int:
    """Print texts."""
    start_console()
    from captioning.texts import TextWriter

    writer = TextWriter.open(options.model, options.device)
    try:
        if options.interactive:
            return _ask(options, writer)
        _print_texts(options, writer, options.meta, options.prompt, options.seed)
    except BrokenPipeError:  # as in `| head`
        give_up_output()
    return exit_codes.FINISHED


def _print_texts(options: argparse.Namespace, writer: TextWriter, meta: str | None, prompt: str, seed: int) -> None:
    rules = {name: value for name in RULES if (value := getattr(options, name)) is not None} | {"seed": seed}
    wish = writer.wish(meta, prompt, options.length, **rules)
    if not options.json:
        print(json_line({"settings": wish.settings}), flush=True)
    for number, written in enumerate(writer.write(wish, options.num, options.batch_size), start=1):
        if options.json:
            told = {"text": written.text, "ended": written.has_ended, "settings": wish.settings}
            print(json_line(told), flush=True)
        else:
            print(f"\n[{number}] {written.text}{'' if written.has_ended else ' ...'}", flush=True)


def _ask(options: argparse.Namespace, writer: TextWriter) -> int:
    """Ask for style and beginning until nobody answers; each time the next seed."""
    meta, prompt, seed = options.meta, options.prompt, options.seed
    known = f" ({', '.join(writer.styles)})" if writer.styles else ""
    print(f"{writer.name}: Enter takes what is in brackets, - is none; Ctrl-D ends.{known}")
    try:
        while True:
            meta = _answer("style", meta)
            prompt = _answer("beginning", prompt) or ""
            try:
                _print_texts(options, writer, meta, prompt, seed)
                seed += 1
            except ValueError as error:
                print(error)
    except EOFError:
        print()
    return exit_codes.FINISHED


def _answer(what: str, usual: str | None) -> str | None:
    given = input(f"{what} [{usual or '-'}]: ").strip()
    return None if given == "-" else given or usual
