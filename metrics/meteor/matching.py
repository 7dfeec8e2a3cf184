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
        self.by_key: dict[int, list[int]] = {}
        self.by_stem: dict[int, list[int]] = {}
        self.by_synset: dict[int, list[int]] = {}
        for place, word in enumerate(line.words):
            self.by_key.setdefault(word.key, []).append(place)
            self.by_stem.setdefault(word.stem, []).append(place)
            for synset in word.synsets:
                self.by_synset.setdefault(synset, []).append(place)


def find_matches(hypothesis: Hypothesis, reference: Line, reader: Reader) -> list[list[Match]]:
    """The matches that start at each word of the reference, in the order that METEOR tries them in."""
    by_start = [_word_matches(hypothesis, place, word) for place, word in enumerate(reference.words)]
    if hypothesis.line.keys == reference.keys:
        return [[match for match in matches if match.stage == EXACT] for matches in by_start]
    line = hypothesis.line
    for place, length, phrase in reference.sources:
        if not line.phrases.keys().isdisjoint(targets := reader.targets(phrase)):
            for target in reader.in_order(phrase, targets & line.phrases.keys()):
                found = (
                    Match(place, length, other, line.lengths[target], PARAPHRASE) for other in line.phrases[target]
                )
                by_start[place] += found
    for other, other_length, phrase in line.sources:
        if not reference.phrases.keys().isdisjoint(targets := reader.targets(phrase)):
            for target in reader.in_order(phrase, targets & reference.phrases.keys()):
                for place in reference.phrases[target]:
                    by_start[place].append(Match(place, reference.lengths[target], other, other_length, PARAPHRASE))
    return by_start


def _word_matches(hypothesis: Hypothesis, place: int, word: Word) -> list[Match]:
    same = hypothesis.by_key.get(word.key, [])
    found = [Match(place, 1, other, 1, EXACT) for other in same]
    by_stem = hypothesis.by_stem.get(word.stem, [])
    if by_stem != same:
        found += [Match(place, 1, other, 1, STEM) for other in by_stem if other not in same]
    synsets = hypothesis.by_synset.keys() & word.synsets
    if synsets:
        others = {other for synset in synsets for other in hypothesis.by_synset[synset]}.difference(same)
        found += [Match(place, 1, other, 1, SYNONYM) for other in sorted(others)]
    return found
