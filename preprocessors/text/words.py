"""What counts as a word: what stands between white space, and a character in scripts that have none."""

from __future__ import annotations

import re
import string
import unicodedata

from preprocessors.text.captions import Punctuation

_BLOCKS = (
    *((0x0E00, 0x0FFF), (0x1000, 0x109F), (0x1780, 0x17FF)),  # Thai, Lao, Tibetan; Burmese; Khmer
    *((0x3040, 0x30FF), (0x31F0, 0x31FF), (0xFF66, 0xFF9F)),  # Hiragana, Katakana
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),  # Han
)
"""Scripts that are written without spaces. Korean has them."""
_UNSPACED = "".join(f"{chr(first)}-{chr(last)}" for first, last in _BLOCKS)
_MARKS = "".join(
    chr(code)
    for first, last in _BLOCKS[:6]
    for code in range(first, last + 1)
    if unicodedata.category(chr(code)).startswith("M")
)
_CHARACTER = re.compile(f"[{_UNSPACED}][{_MARKS}]*")
_PIECE = re.compile(f"[{_UNSPACED}][{_MARKS}]*|[^{_UNSPACED}]+")


def is_unspaced(text: str) -> bool:
    """Whether there is a character of a script without spaces."""
    return not text.isascii() and _CHARACTER.search(text) is not None


def split_words(text: str) -> list[str]:
    """The words of a text in order, each with the space before it.

    Of scripts without spaces every character, with the marks on it, is a word; it has no space unless one is written.
    The first word has one always.
    """
    words: list[str] = []
    for run in text.split():
        pieces = _PIECE.findall(run) if is_unspaced(run) else [run]
        words += [f" {pieces[0]}", *pieces[1:]]
    return words


def compared_words(text: str, punctuation: Punctuation) -> list[str]:
    """The words of a cleaned text in the form in which they are counted: see :func:`compared_word`; none is empty."""
    apart = _CHARACTER.sub(r" \g<0> ", text) if is_unspaced(text) else text
    words = apart.lower().split()
    if punctuation == "strip":
        return words
    return [bare for word in words if (bare := compared_word(word, punctuation))]


def compared_word(word: str, punctuation: Punctuation) -> str:
    """The form in which words are compared: in lower case, and with ``keep`` without the marks around it.

    "there," and "there" are one word; "we're" is another one than "were".
    """
    word = word.strip().lower()
    return word if punctuation == "strip" else _without_marks(word)


def _without_marks(word: str) -> str:
    start, end = 0, len(word)
    while start < end and _is_mark(word[start]):
        start += 1
    while end > start and _is_mark(word[end - 1]):
        end -= 1
    return word[start:end]


def _is_mark(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")
