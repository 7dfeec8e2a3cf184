"""``caption --interactive``: a model that stays loaded, and a person who names pictures and styles."""

from __future__ import annotations

import glob
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from captioning.job import BATCH_SIZE
from captioning.model import CaptionModel
from captioning.writing import Writing
from utils import exit_codes

HELP = """A picture, then a style; Tab completes both.
  Enter        at the picture: the same again; at the style: as before
  all          at the style: every style; several with commas between
  :styles      the styles; :styles pi those with "pi" in them
  :help        this
  :quit        end, as Ctrl-D does"""
ALL = "all"


@dataclass
class _Chosen:
    """What was asked for last."""

    styles: list[str]
    path: str = ""
    pixels: Tensor | None = None


class _Leave(Exception):
    """Somebody wants to go."""


def ask(model: CaptionModel, writing: Writing, styles: Sequence[str], picture: Path | None) -> int:
    """Ask until nobody answers, and print captions.

    Args:
        model: What captions.
        writing: How.
        styles: To begin with; none is the neutral one, or the first where that was never trained.
        picture: To begin with.

    Returns:
        Exit code.
    """
    usual = model.neutral if model.neutral in model.styles else model.styles[0]
    chosen = _Chosen([*styles] or [usual], "" if picture is None else str(picture))
    print(f"{model.name}: {len(model.styles)} styles. Tab completes, :help explains, Ctrl-D ends.")
    names = [*model.styles, *model.aliases, ALL]
    try:
        while True:
            if _choose(model, chosen, names):
                _print_captions(model, writing, chosen)
    except (EOFError, _Leave):
        print()
        return exit_codes.FINISHED


def _choose(model: CaptionModel, chosen: _Chosen, names: Sequence[str]) -> bool:
    """Ask for picture and style; whether both can be had."""
    given = _answer(model, f"picture{_in_brackets(chosen.path)}: ", complete_path)
    if given is None:
        return False
    path = os.path.expanduser(given) or chosen.path
    if not path:
        return False
    try:
        if path != chosen.path or chosen.pixels is None:
            chosen.pixels, chosen.path = model.read(path), path
        while (given := _answer(model, f"style{_in_brackets(', '.join(chosen.styles))}: ", completer(names))) is None:
            pass
        if given:
            chosen.styles = _styles(model, given) or chosen.styles
    except (OSError, ValueError) as error:
        print(error)
        return False
    return True


def _styles(model: CaptionModel, given: str) -> list[str]:
    if given.casefold() == ALL:
        return [*model.styles]
    return list(dict.fromkeys(model.style(part.strip()) for part in given.split(",") if part.strip()))


def _print_captions(model: CaptionModel, writing: Writing, chosen: _Chosen) -> None:
    assert chosen.pixels is not None
    start = time.perf_counter()
    requests = [(chosen.pixels, style) for style in chosen.styles]
    written = model.write(requests, writing, batch_size=BATCH_SIZE)
    for style, captions in zip(chosen.styles, written, strict=True):
        for caption in captions:
            print(f"  {style}\t{caption.text}" if len(chosen.styles) > 1 else f"  {caption.text}")
    print(f"  ({time.perf_counter() - start:.2f} s)", flush=True)


def _answer(model: CaptionModel, question: str, complete: Callable[[str], list[str]]) -> str | None:
    """What somebody types; None where it was a command, which is carried out."""
    with_completion(complete)
    given = input(question).strip()
    if not given.startswith(":"):
        return given
    command, _, part = given.partition(" ")
    if command in (":quit", ":q"):
        raise _Leave
    if command == ":styles":
        print(", ".join(style for style in model.styles if part.strip().casefold() in style.casefold()) or "none")
    else:
        print(HELP)
    return None


def _in_brackets(text: str) -> str:
    return f" [{text if len(text) <= 60 else text[:57] + '...'}]" if text else ""


def complete_path(text: str) -> list[str]:
    """Paths that begin so; folders end with a slash."""
    found = sorted(glob.glob(glob.escape(os.path.expanduser(text)) + "*"))
    return [f"{path}/" if os.path.isdir(path) else path for path in found]


def completer(names: Iterable[str]) -> Callable[[str], list[str]]:
    """Completes the last of several styles with commas between, in any case."""
    known = list(dict.fromkeys(names))

    def complete(text: str) -> list[str]:
        before, comma, last = text.rpartition(",")
        space = last[: len(last) - len(last.lstrip())]
        begun = last.strip().casefold()
        return [f"{before}{comma}{space}{name}" for name in known if name.casefold().startswith(begun)]

    return complete


def with_completion(complete: Callable[[str], list[str]]) -> None:
    """Have Tab complete the whole line, where the system has readline; names have spaces in them."""
    try:
        import readline
    except ImportError:  # Windows
        return
    found: list[str] = []

    def state_of(text: str, state: int) -> str | None:
        if state == 0:
            found[:] = complete(text)
        return found[state] if state < len(found) else None

    readline.set_completer_delims("")
    readline.set_completer(state_of)
    binding = "bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete"
    readline.parse_and_bind(binding)
