"""ROUGE-L of captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.scores.measurement import Measurement, at_once

BETA = 1.2
"""Weight of recall against precision; pycocoevalcap's."""


def rouge_l(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> NDArray[np.float64]:
    """ROUGE-L of every example: the F-measure of the longest common subsequence of words.

    As pycocoevalcap does, precision and recall are each the best over the references, not those of one reference, and
    words are what single spaces separate.

    Args:
        references: Tokenised human captions of each example, at least one each.
        hypotheses: One tokenised caption per example; an empty one scores 0.

    Returns:
        Scores in [0, 1]. Shape (N,).

    Source:
        Lin 2004, https://aclanthology.org/W04-1013.
    """
    pairs = zip(references, hypotheses, strict=True)
    return np.array([_score(texts, hypothesis) for texts, hypothesis in pairs], dtype=np.float64)


def positions_by_word(words: Sequence[str]) -> dict[str, int]:
    """For each word the bits of the places where it stands: bit 0 for the first place."""
    positions: dict[str, int] = {}
    for place, word in enumerate(words):
        positions[word] = positions.get(word, 0) | 1 << place
    return positions


def _score(texts: Sequence[str], hypothesis: str) -> float:
    if not hypothesis:
        return 0.0
    words = hypothesis.split(" ")
    positions = positions_by_word(words)
    precision = recall = 0.0
    for text in texts:
        reference = text.split(" ")
        common = _common_length(positions, len(words), reference)
        precision = max(precision, common / len(words))
        recall = max(recall, common / len(reference))
    if not precision:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)


def _common_length(positions: dict[str, int], length: int, words: list[str]) -> int:
    """Length of the longest common subsequence: its table, a column at a time as the bits of one integer.

    Args:
        positions: ``positions_by_word`` of the first caption.
        length: Words of the first caption.
        words: The second caption.

    Source:
        Hyyrö 2004, "Bit-parallel LCS-length computation revisited".
    """
    everywhere = (1 << length) - 1
    flat = everywhere  # Bit i is 0 where the table grows by one from the first i to the first i + 1 words.
    for word in words:
        here = positions.get(word)
        if here:
            hits = flat & here
            flat = flat + hits | flat - hits
    return length - (flat & everywhere).bit_count()


ROUGE_L = Measurement("ROUGE_L", ("ROUGE_L",), at_once(rouge_l))
