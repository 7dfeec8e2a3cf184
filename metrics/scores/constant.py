"""The caption that does best when it is given to every picture: a floor that a captioner has to beat."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metrics.scores.cider import SIGMA
from metrics.scores.ngrams import MAX_NGRAM, FloatArray, IntArray, Ngram, count_ngrams


class ConstantCaption(NamedTuple):
    """A caption and the CIDEr it gets as the answer to every example."""

    caption: str
    cider: float
    """In [0, 10]; pycocoevalcap's number."""


def best_constant_caption(references: Mapping[str, Sequence[str]], candidates: Iterable[str]) -> ConstantCaption:
    """Find the candidate with the highest CIDEr as the only caption for all examples.

    Every candidate is scored exactly. With the caption fixed, CIDEr is a sum over its n-grams of a term that
    depends only on the n-gram, its count and the caption's length; these terms are computed once and shared, which
    makes thousands of candidates cost about as much as a few calls of pycocoevalcap.

    Args:
        references: Human captions by example_id, tokenised.
        candidates: Tokenised captions, for example those of the training set; duplicates cost nothing.

    Returns:
        The best candidate, the first of equals, and its CIDEr.

    Raises:
        ValueError: If there are no references or no candidates.
    """
    unique = list(dict.fromkeys(candidates))
    if not references or not unique:
        raise ValueError(f"{len(references)} examples and {len(unique)} candidate captions; need at least one of each.")
    scorer = _ConstantScorer(references.values())
    return max((ConstantCaption(caption, scorer.cider(caption)) for caption in unique), key=lambda found: found.cider)


class _Postings(NamedTuple):
    """The references that have one n-gram; every array has one entry for each of them."""

    rows: IntArray
    counts: IntArray
    weights: FloatArray
    """tf-idf of the n-gram in the reference over the reference's norm."""


class _ConstantScorer:
    """CIDEr of one caption against the references of all examples."""

    def __init__(self, references: Iterable[Sequence[str]]) -> None:
        counted = [[count_ngrams(text) for text in texts] for texts in references]
        document_frequency = Counter(ngram for texts in counted for ngram in set().union(*texts))
        self._max_idf = math.log(len(counted))
        self._idf = {ngram: self._max_idf - math.log(count) for ngram, count in document_frequency.items()}
        rows = [counts for texts in counted for counts in texts]
        self._lengths = np.array([_length(counts) for counts in rows], dtype=float)
        self._shares = np.array([1.0 / (len(texts) * len(counted)) for texts in counted for _ in texts])
        self._postings = self._index(rows)
        self._penalties: dict[int, FloatArray] = {}
        self._terms: dict[tuple[Ngram, int, int], float] = {}

    def _index(self, rows: Sequence[Counter[Ngram]]) -> dict[Ngram, _Postings]:
        found: defaultdict[Ngram, list[tuple[int, int, float]]] = defaultdict(list)
        for row, counts in enumerate(rows):
            norms = self._norms(counts)
            for ngram, count in counts.items():
                idf = self._idf[ngram]
                if idf > 0:  # An n-gram of every example weighs nothing, and its row's norm may be zero.
                    found[ngram].append((row, count, count * idf / norms[len(ngram) - 1]))
        return {ngram: _Postings(*map(np.array, zip(*hits, strict=True))) for ngram, hits in found.items()}

    def _norms(self, counts: Mapping[Ngram, int]) -> list[float]:
        squares = [0.0] * MAX_NGRAM
        for ngram, count in counts.items():
            squares[len(ngram) - 1] += (count * self._idf.get(ngram, self._max_idf)) ** 2
        return [math.sqrt(square) for square in squares]

    def cider(self, caption: str) -> float:
        counts = count_ngrams(caption)
        length = _length(counts)
        similarities = [0.0] * MAX_NGRAM
        for ngram, count in counts.items():
            if ngram in self._postings:
                similarities[len(ngram) - 1] += self._term(ngram, count, length)
        norms = self._norms(counts)
        cosines = [similarity / norm for similarity, norm in zip(similarities, norms, strict=True) if norm > 0]
        return 10.0 * sum(cosines) / MAX_NGRAM

    def _term(self, ngram: Ngram, count: int, length: int) -> float:
        """What ``count`` of this n-gram add to a caption of this length, before it is divided by the caption's norm."""
        key = (ngram, count, length)
        if key not in self._terms:
            postings = self._postings[ngram]
            clipped = np.minimum(count, postings.counts) * self._idf[ngram]
            self._terms[key] = float((clipped * postings.weights) @ self._penalty(length)[postings.rows])
        return self._terms[key]

    def _penalty(self, length: int) -> FloatArray:
        """Gaussian length penalty of each reference times its share of the mean. Shape (references,)."""
        if length not in self._penalties:
            self._penalties[length] = self._shares * np.exp(-((length - self._lengths) ** 2) / (2 * SIGMA**2))
        return self._penalties[length]


def _length(counts: Mapping[Ngram, int]) -> int:
    # The official scorer measures length in bigrams, not words. Kept: scores must match published CIDEr.
    return sum(count for ngram, count in counts.items() if len(ngram) == 2)
