"""Which words of two captions METEOR matches, for people to look at."""

from __future__ import annotations

from typing import NamedTuple

from metrics.meteor.beam import Problem, align_all
from metrics.meteor.matching import STAGES, Hypothesis, RelatedWords, find_matches
from metrics.meteor.store import open_reader


class MatchedWords(NamedTuple):
    """Words of the hypothesis and of the reference that stand for each other."""

    hypothesis: tuple[int, int]
    """Places of the first word and of the one behind the last."""
    reference: tuple[int, int]
    stage: str
    """One of ``metrics.meteor.matching.STAGES``."""
    chunk: int
    """From 0, in the order of the reference."""


class WordAlignment(NamedTuple):
    """Two captions as METEOR's words, and what matches."""

    hypothesis: tuple[str, ...]
    reference: tuple[str, ...]
    matches: tuple[MatchedWords, ...]
    """In the order of the reference."""


def align(hypothesis: str, reference: str) -> WordAlignment:
    """Match the words of two captions as METEOR does.

    Args:
        hypothesis: A caption, tokenised or not.
        reference: Another one.

    Raises:
        FileNotFoundError: If pycocoevalcap, whose resources are used, or one of its files is not there.
        ValueError: If one of the files is damaged.
    """
    reader = open_reader()
    first, second = reader.read([hypothesis, reference])
    matches = find_matches(Hypothesis(first, RelatedWords([second])), second, reader)
    found = align_all([Problem(matches, len(second.words), len(first.words))])
    words, other_words = (tuple(word.text for word in line.words) for line in (first, second))
    return WordAlignment(words, other_words, tuple(_with_chunks(found.matches.tolist())))


def _with_chunks(matches: list[list[int]]) -> list[MatchedWords]:
    found: list[MatchedWords] = []
    for start, length, other_start, other_length, stage in matches:
        follows = bool(found) and (found[-1].reference[1], found[-1].hypothesis[1]) == (start, other_start)
        chunk = found[-1].chunk + (not follows) if found else 0
        places = (other_start, other_start + other_length), (start, start + length)
        found.append(MatchedWords(*places, STAGES[stage], chunk))
    return found
