"""Captions as METEOR sees them: words with everything that they may match by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from metrics.meteor.lexicon import Lexicon
from metrics.meteor.normalizer import words_of
from metrics.meteor.paraphrases import Paraphrases
from metrics.meteor.stemmer import stem

_CACHED_WORDS = 200_000
_CACHED_PHRASES = 100_000


class Word(NamedTuple):
    """What a word may match by. Words and stems are compared by Java's hash of strings, as METEOR does."""

    text: str
    key: int
    stem: int
    synsets: frozenset[int]
    is_function: bool
    number: int
    """Among the words of the paraphrases; 0 if it is in none."""


class Line(NamedTuple):
    """The words of a caption."""

    words: tuple[Word, ...]
    sources: list[tuple[int, int, int, frozenset[int]]]
    """Phrases that others may stand for, by place and then by length: place, number of words, number of the phrase, and
    the numbers of those others."""
    phrases: dict[int, list[tuple[int, int]]]
    """By number of a phrase its places, each with the number of words."""
    keys: list[int]
    """What the words are compared by."""
    known: frozenset[int]
    """The numbers of the phrases."""
    is_function: list[bool]
    """Which of the words count for less."""


class Reader:
    """Makes lines of captions."""

    def __init__(self, lexicon: Lexicon, paraphrases: Paraphrases) -> None:
        """Take what METEOR knows."""
        self._lexicon = lexicon
        self._paraphrases = paraphrases
        self._words: dict[str, Word] = {}
        self._targets: dict[int, frozenset[int]] = {}

    def read(self, texts: Sequence[str]) -> list[Line]:
        """The lines of captions, many at once being cheaper than one by one."""
        words = [tuple(map(self._word, words_of(_field(text), self._lexicon.prefixes))) for text in texts]
        found = self._paraphrases.find([[word.number for word in line] for line in words])
        return [self._line(*pair) for pair in zip(words, found, strict=True)]

    def _targets_of(self, phrase: int) -> frozenset[int]:
        found = self._targets.get(phrase)
        if found is None:
            if len(self._targets) >= _CACHED_PHRASES:
                self._targets.clear()
            found = self._targets[phrase] = frozenset(self._paraphrases.targets(phrase))
        return found

    def in_order(self, phrase: int, targets: frozenset[int]) -> list[int]:
        """Some of the phrases that may stand for a phrase, in the order that METEOR tries them in."""
        if len(targets) < 2:
            return list(targets)
        return [target for target in self._paraphrases.targets(phrase) if target in targets]

    def _line(self, words: tuple[Word, ...], found: list[tuple[int, int, int, bool]]) -> Line:
        phrases: dict[int, list[tuple[int, int]]] = {}
        sources = []
        for place, length, phrase, has_others in found:
            phrases.setdefault(phrase, []).append((place, length))
            if has_others:
                sources.append((place, length, phrase, self._targets_of(phrase)))
        keys, is_function = [word.key for word in words], [word.is_function for word in words]
        return Line(words, sources, phrases, keys, frozenset(phrases), is_function)

    def _word(self, text: str) -> Word:
        found = self._words.get(text)
        if found is None:
            if len(self._words) >= _CACHED_WORDS:
                self._words.clear()
            found = self._words[text] = self._look_up(text)
        return found

    def _look_up(self, text: str) -> Word:
        units = _utf16(text)
        return Word(
            text,
            _hash(units),
            _hash(stem(units)),
            self._lexicon.synsets(text),
            text in self._lexicon.function_words,
            self._paraphrases.words.get(text, 0),
        )


def _field(text: str) -> str:
    """A caption as it comes out of METEOR's protocol, whatever is in it."""
    if "|||" in text:
        text = text.replace("|||", "")
    # A lone surrogate, which JSON can hold, has no UTF-8 form.
    return text if text.isascii() else text.encode(errors="replace").decode()


def _utf16(text: str) -> str:
    """A text with a character for each unit of UTF-16."""
    if text.isascii() or max(text) < "\U00010000":
        return text
    units = memoryview(text.encode("utf-16-le")).cast("H")
    return "".join(map(chr, units))


def _hash(units: str) -> int:
    """Java's hash of a string, which METEOR takes for the string itself."""
    found = 0
    for unit in units:
        found = (31 * found + ord(unit)) & 0xFFFFFFFF
    return found
