"""Which words and phrases of a hypothesis and a reference may be matched: METEOR's four stages."""

from __future__ import annotations

from typing import NamedTuple

from metrics.meteor.words import Line, Reader, Word

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
STAGES = ("exact", "stem", "synonym", "paraphrase")


class Match(NamedTuple):
    """Words of the reference that stand for words of the hypothesis."""

    start: int
    """Place of the first word in the reference."""
    length: int
    """Words in the reference."""
    other_start: int
    """Place of the first word in the hypothesis."""
    other_length: int
    """Words in the hypothesis."""
    stage: int
    """Place in ``STAGES``."""


class Hypothesis:
    """A line with its words by what they match by, to be matched with several references."""

    def __init__(self, line: Line) -> None:
        """Index the words."""
        self.line = line
        self._by_key: dict[int, list[int]] = {}
        self._by_stem: dict[int, list[int]] = {}
        for place, word in enumerate(line.words):
            self._by_key.setdefault(word.key, []).append(place)
            self._by_stem.setdefault(word.stem, []).append(place)
        self._synsets = frozenset[int]().union(*(word.synsets for word in line.words))
        self._found: dict[str, list[tuple[int, int]]] = {}

    def matches(self, word: Word) -> list[tuple[int, int]]:
        """The places of the words that a word of a reference matches, with the stages, in METEOR's order."""
        found = self._found.get(word.text)
        if found is None:
            found = self._found[word.text] = self._find(word)
        return found

    def _find(self, word: Word) -> list[tuple[int, int]]:
        same = self._by_key.get(word.key, [])
        found = [(other, EXACT) for other in same]
        found += [(other, STEM) for other in self._by_stem.get(word.stem, []) if other not in same]
        if not self._synsets.isdisjoint(word.synsets):
            for other, candidate in enumerate(self.line.words):
                if other not in same and not candidate.synsets.isdisjoint(word.synsets):
                    found.append((other, SYNONYM))
        return found


def find_matches(hypothesis: Hypothesis, reference: Line, reader: Reader) -> list[list[Match]]:
    """The matches that start at each word of the reference, in the order that METEOR tries them in."""
    by_start = [
        [Match(place, 1, other, 1, stage) for other, stage in hypothesis.matches(word)]
        for place, word in enumerate(reference.words)
    ]
    line = hypothesis.line
    if line.keys == reference.keys:
        return [[match for match in matches if match.stage == EXACT] for matches in by_start]
    for place, length, phrase, targets in reference.sources:
        if not line.known.isdisjoint(targets):
            for target in reader.in_order(phrase, targets & line.known):
                for other in line.phrases[target]:
                    by_start[place].append(Match(place, length, other, line.lengths[target], PARAPHRASE))
    for other, other_length, phrase, targets in line.sources:
        if not reference.known.isdisjoint(targets):
            for target in reader.in_order(phrase, targets & reference.known):
                for place in reference.phrases[target]:
                    by_start[place].append(Match(place, reference.lengths[target], other, other_length, PARAPHRASE))
    return by_start
