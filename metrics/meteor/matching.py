"""Which words and phrases of a hypothesis and a reference may be matched: METEOR's four stages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from metrics.meteor.words import Line, Reader, Word

EXACT, STEM, SYNONYM, PARAPHRASE = range(4)
STAGES = ("exact", "stem", "synonym", "paraphrase")

Numbers = tuple[int, int, int, int, int]
"""A ``Match`` without its names, of which there are very many."""


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


class RelatedWords:
    """The words of some references by what they match by, looked up once for all hypotheses."""

    def __init__(self, references: Iterable[Line]) -> None:
        """Index the words."""
        self._by_key: dict[int, list[str]] = {}
        self._by_stem: dict[int, list[str]] = {}
        self._by_synset: dict[int, list[str]] = {}
        for text, word in {word.text: word for line in references for word in line.words}.items():
            self._by_key.setdefault(word.key, []).append(text)
            self._by_stem.setdefault(word.stem, []).append(text)
            for synset in word.synsets:
                self._by_synset.setdefault(synset, []).append(text)
        self._found: dict[str, list[tuple[str, int]]] = {}

    def of(self, word: Word) -> list[tuple[str, int]]:
        """The words that a word of a hypothesis matches, with the stages; a word may be there with several."""
        found = self._found.get(word.text)
        if found is None:
            found = self._found[word.text] = self._find(word)
        return found

    def _find(self, word: Word) -> list[tuple[str, int]]:
        same = self._by_key.get(word.key, [])
        found = [(text, EXACT) for text in same]
        found += [(text, STEM) for text in self._by_stem.get(word.stem, []) if text not in same]
        alike = {text for synset in word.synsets for text in self._by_synset.get(synset, ())}
        found += [(text, SYNONYM) for text in alike.difference(same)]
        return found


class Hypothesis:
    """A line with what its words match, to be matched with several references."""

    def __init__(self, line: Line, related: RelatedWords) -> None:
        """Find the words of references that the line's words match."""
        self.line = line
        self.matches: dict[str, list[tuple[int, int]]] = {}
        """By word of a reference the stages and the places here that it matches, in METEOR's order."""
        for place, word in enumerate(line.words):
            for text, stage in related.of(word):
                self.matches.setdefault(text, []).append((stage, place))
        for found in self.matches.values():
            if len(found) > 1:
                found.sort()


def find_matches(hypothesis: Hypothesis, reference: Line, reader: Reader) -> Sequence[Numbers]:
    """The matches of two lines; those that start at a word of the reference in the order that METEOR tries them in."""
    line, matches = hypothesis.line, hypothesis.matches
    found = [
        (place, 1, other, 1, stage)
        for place, word in enumerate(reference.words)
        for stage, other in matches.get(word.text, ())
    ]
    if line.keys == reference.keys:
        return [match for match in found if match[-1] == EXACT]
    for place, length, phrase, targets in reference.sources:
        if not line.known.isdisjoint(targets):
            for target in reader.in_order(phrase, targets & line.known):
                for other, other_length in line.phrases[target]:
                    found.append((place, length, other, other_length, PARAPHRASE))
    for other, other_length, phrase, targets in line.sources:
        if not reference.known.isdisjoint(targets):
            for target in reader.in_order(phrase, targets & reference.known):
                for place, length in reference.phrases[target]:
                    found.append((place, length, other, other_length, PARAPHRASE))
    return found
