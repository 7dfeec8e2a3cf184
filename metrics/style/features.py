"""What a style classifier sees of a caption: hashed n-grams of words and of characters."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

BUCKETS = 2**18
"""Words and word pairs are hashed to 0..BUCKETS - 1, character n-grams to BUCKETS..2 * BUCKETS - 1."""

_CHARACTER_NGRAMS = (3, 4, 5)
# With spaces in them, which no word has.
_BEGIN, _END = " begin", " end"


def count_features(captions: Sequence[str]) -> Any:
    """Count the features of captions.

    Every different word of a caption counts once as a word and once in the character n-grams that lie within it, a
    space before and after included; every different pair of neighbours, the caption's begin and end included, counts
    once. Character n-grams know a word's relatives: "lovers" shares most of its own with "lover".

    Args:
        captions: Tokenised captions; "" has no word, but begin and end as neighbours.

    Returns:
        A scipy CSR array of float32 with sorted indices. Shape (N, 2 * BUCKETS).
    """
    from scipy.sparse import csr_array

    buckets: list[int] = []
    ends = [0]
    for caption in captions:
        words = caption.split()
        for word in dict.fromkeys(words):
            buckets += _word_buckets(word)
        buckets += [_hash(f"{pair[0]} {pair[1]}") for pair in dict.fromkeys(pairwise([_BEGIN, *words, _END]))]
        ends.append(len(buckets))
    counts = csr_array(
        (np.ones(len(buckets), dtype=np.float32), np.array(buckets, dtype=np.int32), np.array(ends, dtype=np.int32)),
        shape=(len(captions), 2 * BUCKETS),
    )
    counts.sum_duplicates()
    return counts


@lru_cache(maxsize=2**15)  # Captions share their words: this is most of the speed.
def _word_buckets(word: str) -> tuple[int, ...]:
    spaced = f" {word} "
    ngrams = (spaced[start : start + n] for n in _CHARACTER_NGRAMS for start in range(len(spaced) - n + 1))
    return _hash(word), *(BUCKETS + _hash(ngram) for ngram in ngrams)


def _hash(text: str) -> int:
    # Not Python's own hash, which differs from process to process. Half of a surrogate pair is legal in a str.
    return zlib.crc32(text.encode(errors="surrogatepass")) % BUCKETS
