"""Captions as they are trained on, and what is asked of a tokenizer."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Protocol

_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


class TextTokenizer(Protocol):
    """What the preprocessor needs of a tokenizer."""

    bos_token_id: int
    eos_token_id: int
    pad_token_id: int

    def encode_text(self, text: str, max_length: int | None = None) -> list[int]:
        """Ids of a text without special tokens, cut after ``max_length`` ids."""

    def decode_caption(self, token_ids: Sequence[int]) -> str:
        """Text of a caption: what stands before the first EOS, without a BOS at its head; outer space stripped."""


def clean_caption(caption: str, max_words: int | None = None) -> str:
    """OFA's punctuation rule for captions that are trained on.

    Every character of ``string.punctuation`` is removed, case is kept, and white space becomes single spaces.

    Args:
        caption: Human caption.
        max_words: Number of words to keep; None keeps all.
    """
    return " ".join(caption.translate(_WITHOUT_PUNCTUATION).split()[:max_words])
