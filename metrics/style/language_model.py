"""N-gram language model of captions with modified Kneser-Ney smoothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# Not strings, so that a caption may hold the words "<s>", "</s>" and "<unk>".
_BEGIN, _END, _UNKNOWN, _FIRST_WORD = range(4)
_FALLBACK_DISCOUNTS = (0.0, 0.5, 1.0, 1.5)


class _Level(NamedTuple):
    """The n-grams of one n; both code arrays ascend."""

    codes: IntArray
    shares: FloatArray
    """Discounted count of the n-gram over the count of its context."""
    contexts: IntArray
    """Codes of all n-grams without their last word."""
    held_back: FloatArray
    """What the discounts left over in that context: the weight of the (n - 1)-gram's probability."""


class NgramLanguageModel:
    """Probabilities of captions, word by word given the words before, with the end of the caption as a word.

    A word that no training caption has is the one word <unk>, whose probability is its share of what is held back for
    unseen words: in every context the probabilities of the training words, <unk> and the end sum to 1.

    Source:
        Interpolated modified Kneser-Ney: Chen and Goodman 1998, TR-10-98, section 3. The unigrams are interpolated
        with the uniform distribution (Heafield et al. 2013, https://aclanthology.org/P13-2121). A level whose counts
        are too few for the three discounts takes 0.5, 1 and 1.5.
    """

    def __init__(self, vocabulary: dict[str, int], levels: Sequence[_Level]) -> None:
        self._vocabulary = vocabulary
        self._size = _FIRST_WORD + len(vocabulary)
        self._levels = levels  # n = 1, 2, ...

    @classmethod
    def fit(cls, captions: Sequence[str], order: int = 3) -> NgramLanguageModel:
        """Count the n-grams of training captions.

        Args:
            captions: Tokenised captions, at least one; "" is a caption that ends at once.
            order: Words of the longest n-gram, at least 1.

        Raises:
            ValueError: If there are no captions, or ``order`` is less than 1 or too large for this many words.
        """
        if not captions or order < 1:
            raise ValueError(f"{len(captions)} captions and order {order}: a language model needs at least 1 of each.")
        words = dict.fromkeys(chain.from_iterable(caption.split() for caption in captions))
        model = cls({word: number for number, word in enumerate(words, start=_FIRST_WORD)}, [])
        if model._size**order >= 2**63:
            raise ValueError(f"order {order} is too large for {len(words)} words; take a smaller one.")
        codes, counts = np.unique(_encode(model._windows(captions, order), model._size), return_counts=True)
        levels = []
        for n in range(order, 0, -1):
            levels.append(_discount(codes, counts, model._size))
            # Below the highest order an n-gram counts as often as there are different words before it.
            codes, counts = np.unique(codes % model._size ** (n - 1), return_counts=True)
        model._levels = levels[::-1]
        return model

    def knows(self, word: str) -> bool:
        """Whether a training caption has the word."""
        return word in self._vocabulary

    def log_probabilities(self, captions: Sequence[str]) -> FloatArray:
        """Log-probability of each caption with its end, in nats.

        Args:
            captions: Tokenised captions; may be none.

        Returns:
            Shape (N,).
        """
        if not captions:
            return np.zeros(0)
        lengths = np.array([len(caption.split()) + 1 for caption in captions])
        log_probs = self.word_log_probabilities(captions)
        return np.asarray(np.add.reduceat(log_probs, np.cumsum(lengths) - lengths))

    def word_log_probabilities(self, captions: Sequence[str]) -> FloatArray:
        """Log-probability of every word and every end, in their order, in nats.

        Args:
            captions: Tokenised captions, at least one.

        Returns:
            Shape (words and captions together,).
        """
        return np.asarray(np.log(self._probabilities(self._windows(captions, len(self._levels)))))

    def perplexity(self, captions: Sequence[str]) -> float:
        """Inverse of the geometric mean probability of a word; the end of each caption counts as a word.

        Args:
            captions: Tokenised captions, at least one.

        Returns:
            At least 1; the lower, the more the captions are like the training captions.

        Raises:
            ValueError: If there are no captions.
        """
        if not captions:
            raise ValueError("no captions: a perplexity is a mean over words and needs at least one caption.")
        words = sum(len(caption.split()) + 1 for caption in captions)
        return math.exp(-self.log_probabilities(captions).sum() / words)

    def _windows(self, captions: Sequence[str], order: int) -> IntArray:
        """Every word of the captions and every end, with the ``order - 1`` words before. Shape (words, order)."""
        begin = [_BEGIN] * (order - 1)
        ids: list[int] = []
        for caption in captions:
            ids += [*begin, *(self._vocabulary.get(word, _UNKNOWN) for word in caption.split()), _END]
        windows = np.lib.stride_tricks.sliding_window_view(np.array(ids, dtype=np.int64), order)
        return np.asarray(windows[windows[:, -1] != _BEGIN])

    def _probabilities(self, windows: IntArray) -> FloatArray:
        """Probability of the last word of each window, given the others."""
        probabilities = np.full(len(windows), 1 / (self._size - 1))  # Every word but the beginning.
        for n, level in enumerate(self._levels, start=1):
            codes = _encode(windows[:, -n:], self._size)
            shares = _look_up(level.codes, level.shares, codes, 0.0)
            probabilities = shares + _look_up(level.contexts, level.held_back, codes // self._size, 1.0) * probabilities
        return probabilities


def _encode(windows: IntArray, size: int) -> IntArray:
    """One integer for each row: its ids as the digits of a number to the base ``size``."""
    return np.asarray(windows @ size ** np.arange(windows.shape[1] - 1, -1, -1))


def _discount(codes: IntArray, counts: IntArray, size: int) -> _Level:
    discounts = np.array(_discounts(counts))[np.minimum(counts, 3)]
    contexts, which = np.unique(codes // size, return_inverse=True)
    totals = np.bincount(which, counts)
    return _Level(codes, (counts - discounts) / totals[which], contexts, np.bincount(which, discounts) / totals)


def _discounts(counts: IntArray) -> tuple[float, ...]:
    """What to take off counts of 0, 1, 2 and 3 or more."""
    ones, twos, threes, fours = (int(np.sum(counts == k)) for k in range(1, 5))
    if 0 in (ones, twos, threes, fours):
        return _FALLBACK_DISCOUNTS
    share = ones / (ones + 2 * twos)
    found = (0.0, 1 - 2 * share * twos / ones, 2 - 3 * share * threes / twos, 3 - 4 * share * fours / threes)
    return found if min(found[1:]) > 0 else _FALLBACK_DISCOUNTS


def _look_up(keys: IntArray, values: FloatArray, wanted: IntArray, absent: float) -> FloatArray:
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[places] == wanted, values[places], absent)
