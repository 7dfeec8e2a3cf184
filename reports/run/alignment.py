"""Which words METEOR matches between a caption and people's, for people to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from metrics.meteor.align import WordAlignment, align


class MarkedWord(NamedTuple):
    """A word as METEOR reads it, and how it was matched."""

    text: str
    stage: str | None
    """``exact``, ``stem``, ``synonym`` or ``paraphrase``; None if it was not matched."""


def alignments(results: Mapping[str, Any], caption: str, references: Sequence[str]) -> list[list[list[MarkedWord]]]:
    """For each reference the words of the caption and its own; nothing where METEOR was not computed here.

    Args:
        results: What ``metrics.results.evaluate_captions`` returned.
        caption: What the model wrote.
        references: What people wrote.
    """
    if results["overall"].get("METEOR") is None or not caption:
        return []
    return [_marked(align(caption, reference)) for reference in references]


def _marked(found: WordAlignment) -> list[list[MarkedWord]]:
    sides = []
    of_hypothesis = [(match.hypothesis, match.stage) for match in found.matches]
    of_reference = [(match.reference, match.stage) for match in found.matches]
    for words, matches in ((found.hypothesis, of_hypothesis), (found.reference, of_reference)):
        stages: dict[int, str] = {}
        for places, stage in matches:
            stages |= dict.fromkeys(range(*places), stage)
        sides.append([MarkedWord(word, stages.get(place)) for place, word in enumerate(words)])
    return sides
