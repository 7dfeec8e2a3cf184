"""Captions as they are trained on, and what is asked of a tokenizer."""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from preprocessors.text.spacing import join_tokens

Punctuation = Literal["strip", "keep"]
"""What becomes of punctuation in captions that are trained on: ``strip`` is OFA's rule, ``keep`` leaves it."""

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)
_INSIDE_A_WORD = re.compile(rf"(?<=\w)[{re.escape(string.punctuation)}](?=\w)")
_BEHIND_OPENING = re.compile(r"(?<=<)")


class TextTokenizer(Protocol):
    """What the preprocessor needs of a tokenizer."""

    bos_token_id: int
    eos_token_id: int
    pad_token_id: int

    def encode_text(self, text: str, max_length: int | None = None) -> list[int]:
        """Ids of a text without special tokens, cut after ``max_length`` ids."""

    def decode_caption(self, token_ids: Sequence[int]) -> str:
        """Text of a caption: what stands before the first EOS, without a BOS at its head; outer space stripped."""


def clean_caption(caption: str, max_words: int | None = None, *, punctuation: Punctuation = "strip") -> str:
    """A caption as it is trained on: in single spaces, its case kept.

    ``strip`` removes every character of ``string.punctuation``, as OFA does, and so joins what stood around it: "don't"
    becomes "dont". ``keep`` leaves all as people write it, and puts a caption that is stored in tokens ("he 's here .")
    together again, see :func:`preprocessors.text.spacing.join_tokens`.

    Args:
        caption: Human caption.
        max_words: Number of words to keep; None keeps all.
        punctuation: The rule.
    """
    if punctuation == "keep":
        return " ".join(join_tokens(" ".join(caption.split())).split()[:max_words])
    return " ".join(caption.translate(_WITHOUT_PUNCTUATION).split()[:max_words])


def encode_caption(tokenizer: TextTokenizer, text: str, max_length: int | None = None) -> list[int]:
    """Ids of a cleaned caption, of which nothing is taken for a special token: a person's "<s>" is three characters.

    Args:
        tokenizer: Its special tokens and those behind its BPE all begin with ``<`` and have no other. What its model
            writes before every caption, it names ``caption_start``; most have no such thing.
        text: The caption; without ``<`` it is what ``encode_text`` makes of it, and no ids if it is empty.
        max_length: Most ids; None for all.
    """
    start: str = getattr(tokenizer, "caption_start", "")
    return encode_words(tokenizer, start + text if text else "", max_length)


def encode_words(tokenizer: TextTokenizer, text: str, max_length: int | None = None) -> list[int]:
    """As :func:`encode_caption`, of words that stand anywhere."""
    if "<" not in text:
        return tokenizer.encode_text(text, max_length=max_length)
    pieces = (tokenizer.encode_text(piece) for piece in _BEHIND_OPENING.split(text) if piece)
    return [token for piece in pieces for token in piece][:max_length]


class StripCosts(NamedTuple):
    """What ``strip`` takes from captions."""

    captions: int
    """Captions looked at."""
    marked: int
    """Captions with any punctuation that it removes, the full stop at the end included."""
    joined: int
    """Captions with a word that it changes, such as "don't", "well-worn" or "1,000"."""


def strip_costs(captions: Iterable[str]) -> StripCosts:
    """Count what ``strip`` changes in captions, whether they are written out or in tokens.

    Of a caption with a changed word no model that strips can reach the reference: metrics see "dont" there, and "do"
    and "n't" in what people wrote. The ceiling in CIDEr is the score of ``clean_caption(reference)`` against the
    references.
    """
    number = marked = joined = 0
    for caption in captions:
        number += 1
        written = clean_caption(caption, punctuation="keep")
        marked += written != written.translate(_WITHOUT_PUNCTUATION)
        joined += _INSIDE_A_WORD.search(written) is not None
    return StripCosts(number, marked, joined)
