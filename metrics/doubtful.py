"""Captions that are none: lists, numbers or tokens written as text, and scripts that the tokenizer cannot read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from metrics.tokenizers.characters import is_without_spaces
from preprocessors.formats.text_tables import list_in_text

NUMBERS = re.compile(r"[\[(]?\s*\d+(?:[\s,]+\d+)+\s*[\])]?|\d{4,}")
TOKENS = re.compile(
    r"</?(?:s|pad|unk|bos|eos|start|end|mask)>|\[(?:CLS|SEP|PAD|UNK|BOS|EOS|MASK)\]|<\|\w+\|>|[\u0120\u2581]|(?:^|\s)##\w"
    r"|\w@@\s"
)


class Doubt(NamedTuple):
    """Something that captions should not look like."""

    what: str
    remedy: str
    holds: Callable[[str], bool]


DOUBTS = (
    Doubt(
        "lists written as text",
        "write each caption as a string of its own",
        lambda text: list_in_text(text) is not None,
    ),
    Doubt(
        "numbers, as token ids are",
        "decode them with the model's tokenizer",
        lambda text: NUMBERS.fullmatch(text.strip()) is not None,
    ),
    Doubt(
        "tokens, with marks of a tokenizer in them",
        "decode them without special tokens",
        lambda text: TOKENS.search(text) is not None,
    ),
)
NO_SPACES = Doubt(
    "in a script without spaces, so that a whole caption counts as one word",
    "use --tokenizer characters, or a segmenter",
    is_without_spaces,
)


def find_doubts(captions: Iterable[str], *, by_words: bool) -> list[str]:
    """What is doubtful about captions, a line each: how many, the first of them, and what to do.

    Args:
        captions: As written.
        by_words: Whether the tokenizer takes what stands between spaces for a word.
    """
    listed = list(captions)
    found = []
    for doubt in (*DOUBTS, *([NO_SPACES] if by_words else [])):
        held = [text for text in listed if doubt.holds(text)]
        if held:
            first = held[0] if len(held[0]) <= 60 else f"{held[0][:60]}..."
            found.append(
                f"{len(held):,} of {len(listed):,} captions are {doubt.what} (first: {first!r}); {doubt.remedy}"
            )
    return found
