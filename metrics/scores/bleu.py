"""Corpus BLEU from counts that add up over examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.scores.measurement import Measurement, at_once
from metrics.scores.ngrams import MAX_NGRAM
from metrics.scores.rouge import positions_by_word

NUM_STATISTICS = 2 * MAX_NGRAM + 2

# pycocoevalcap keeps its precisions finite with these two. They show where nothing matches: Bleu_4 is then about
# 1e-4 for a short caption and not 0. Kept: scores must match published BLEU.
_TINY, _SMALL = 1e-15, 1e-9


def bleu_statistics(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> NDArray[np.int64]:
    """Count what BLEU needs of every example.

    Args:
        references: Tokenised human captions of each example, at least one each. Words are what white space separates.
        hypotheses: One tokenised caption per example; may be empty.

    Returns:
        Shape (N, 10): n-grams of the hypothesis that a reference has too, each at most as often as in the one
        reference that has it most often (n = 1..4); n-grams of the hypothesis (n = 1..4); words of the hypothesis;
        words of the reference whose length is nearest to it, the shorter of two that are as near.

    Source:
        Papineni et al. 2002, https://aclanthology.org/P02-1040.
    """
    rows = [_count(texts, hypothesis) for texts, hypothesis in zip(references, hypotheses, strict=True)]
    return np.array(rows, dtype=np.int64).reshape(-1, NUM_STATISTICS)


def bleu_from_statistics(totals: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU of one example or, from summed statistics, of many.

    Args:
        totals: Rows of ``bleu_statistics`` or sums of them. Shape (..., 10).

    Returns:
        Bleu_1 to Bleu_4 as pycocoevalcap defines them ("closest" reference length). Shape (..., 4).
    """
    matches, guesses = totals[..., :MAX_NGRAM], totals[..., MAX_NGRAM : 2 * MAX_NGRAM]
    precisions = np.cumprod((matches + _TINY) / (guesses + _SMALL), axis=-1)
    scores = precisions ** (1 / np.arange(1, MAX_NGRAM + 1))
    ratio = (totals[..., -2:-1] + _TINY) / (totals[..., -1:] + _SMALL)
    return np.asarray(scores * np.exp(np.minimum(0.0, 1 - 1 / ratio)))


def _count(texts: Sequence[str], hypothesis: str) -> list[int]:
    words = hypothesis.split()
    references = [text.split() for text in texts]
    length = len(words)
    nearest = min([(abs(len(reference) - length), len(reference)) for reference in references])[1]
    return [*_matches(words, references), *(max(length - n, 0) for n in range(MAX_NGRAM)), length, nearest]


def _matches(words: list[str], references: list[list[str]]) -> list[int]:
    """For n = 1..4 the n-grams that a reference has too. The places of the hypothesis are the bits of one integer."""
    positions = positions_by_word(words)
    ends = [0, 0, 0, 0]
    for reference in references:
        _mark_ends(ends, positions, reference)
    matches = [places.bit_count() for places in ends]
    if len(positions) == len(words):
        return matches
    for n in range(1, MAX_NGRAM + 1):
        ngrams = _ngrams(words, n)
        different = set(ngrams)
        if len(different) == len(ngrams):  # No longer n-gram stands twice either.
            break
        repeated = [ngram for ngram in different if ngrams.count(ngram) > 1]
        matches[n - 1] -= sum(_too_many(ngram, ngrams.count(ngram), references) for ngram in repeated)
    return matches


def _mark_ends(ends: list[int], positions: dict[str, int], reference: list[str]) -> None:
    """Add to ``ends[n - 1]`` the bits of the places where an n-gram ends that the reference has too."""
    singles, pairs, triples, fours = ends
    single = pair = triple = 0  # Places where the n-gram ends that ends at the current word of the reference.
    for word in reference:
        here = positions.get(word)
        if here:
            fours |= triple << 1 & here
            triple = pair << 1 & here
            pair = single << 1 & here
            single = here
            triples |= triple
            pairs |= pair
            singles |= single
        else:
            single = pair = triple = 0
    ends[:] = singles, pairs, triples, fours


def _too_many(ngram: tuple[str, ...], count: int, references: list[list[str]]) -> int:
    """By how much ``count`` exceeds how often any reference has the n-gram; 0 if none has it, so that none matched."""
    most = max(_ngrams(reference, len(ngram)).count(ngram) for reference in references)
    return max(count - most, 0) if most else 0


def _ngrams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[i:] for i in range(n)), strict=False))


BLEU = Measurement(
    "BLEU",
    tuple(f"Bleu_{n}" for n in range(1, MAX_NGRAM + 1)),
    at_once(bleu_statistics),
    num_statistics=NUM_STATISTICS,
    from_statistics=bleu_from_statistics,
)
