"""N-grams of tokenised captions: counted as tuples of words, or numbered and handled as arrays."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_NGRAM = 4
"""CIDEr and BLEU look at n-grams of 1 to 4 words."""

Ngram = tuple[str, ...]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_NO_EDGE = np.iinfo(np.int64).max


def count_ngrams(text: str) -> Counter[Ngram]:
    """How often each n-gram of 1 to ``MAX_NGRAM`` words occurs in a tokenised caption."""
    words = text.split()
    return Counter(tuple(words[i : i + n]) for n in range(1, MAX_NGRAM + 1) for i in range(len(words) - n + 1))


@dataclass(frozen=True, eq=False)
class NgramTree:
    """A number from 0 (the rank) for every n-gram of some captions; equal n-grams, and only those, share it.

    An n-gram of n words hangs on its first n - 1 words by its last one. Packing these two into one integer, its edge,
    takes no more bits for four words than for two, so that it is exact for any vocabulary.
    """

    words: dict[str, int]
    """Rank of each word: 0, 1, ..."""
    edges: IntArray
    """``rank of the first n - 1 words * len(words) + rank of the last`` of the longer n-grams, which follow the words
    in the order of their edges: pairs, triples, quadruples. A last one is larger than all and no edge."""
    bounds: tuple[int, ...]
    """Ranks from ``bounds[n - 1]`` up to ``bounds[n]`` are n-grams of n words, n = 1 to 4."""

    @property
    def size(self) -> int:
        """How many n-grams there are."""
        return self.bounds[-1]

    @property
    def orders(self) -> NDArray[np.int32]:
        """Words of each n-gram, less one. Shape (size,)."""
        return np.repeat(np.arange(MAX_NGRAM, dtype=np.int32), np.diff(self.bounds))

    def find(self, other: NgramTree) -> IntArray:
        """Ranks in this tree of all n-grams of another one; -1 for those that this one lacks. Shape (other.size,)."""
        num_words = len(other.words)
        ranks = np.full(other.size, -1)
        ranks[:num_words] = np.fromiter(map(self.words.get, other.words, repeat(-1)), np.int64, num_words)
        for start, end in zip(other.bounds[1:-1], other.bounds[2:], strict=True):
            parents, words = np.divmod(other.edges[start - num_words : end - num_words], max(num_words, 1))
            parents, words = ranks[parents], ranks[words]
            known = np.flatnonzero((parents >= 0) & (words >= 0))
            wanted = parents[known] * len(self.words) + words[known]
            places = np.searchsorted(self.edges, wanted)
            found = self.edges[places] == wanted
            ranks[start + known[found]] = len(self.words) + places[found]
        return ranks


class Entries(NamedTuple):
    """Which captions have which n-grams, and how often; ordered by n-gram, then caption."""

    ranks: IntArray
    """N-gram of each entry. Shape (E,)."""
    captions: NDArray[np.int32]
    """Caption that has it. Shape (E,)."""
    counts: IntArray
    """How often it has it. Shape (E,)."""


class CaptionNgrams:
    """The n-grams of up to four words in some captions, numbered and counted.

    Attributes:
        tree: The numbers of the n-grams.
        lengths: Words in each caption. Shape (number of captions,).
        by_order: Entries of n-grams of one word, two, three and four words.
    """

    def __init__(self, captions: Sequence[str], eos: str | None = None) -> None:
        """Number and count the n-grams.

        Args:
            captions: Tokenised; "" has no n-grams.
            eos: A word to append to every caption; None for none.
        """
        words, vocabulary, self.lengths = _number_words(captions, eos)
        owners = np.repeat(np.arange(len(captions), dtype=np.int32), self.lengths)
        left = np.repeat(np.cumsum(self.lengths), self.lengths) - np.arange(len(words))
        ranks = words.copy()  # Of the n-gram that begins at each word; of n words in turn n.
        edges, bounds = [], [0]
        self.by_order: list[Entries] = []
        for n in range(MAX_NGRAM):
            places = np.flatnonzero(left > n)
            keys = ranks[places]
            if n:
                keys *= len(vocabulary)
                keys += words[places + n]
            keys, places = sort_with(keys, places)
            new = differs(keys)
            edges.append(keys[new])
            sorted_ranks = np.cumsum(new, dtype=np.int64)
            sorted_ranks += bounds[-1] - 1
            ranks[places] = sorted_ranks
            bounds.append(bounds[-1] + len(edges[-1]))
            members = owners[places]
            firsts = np.flatnonzero(new | differs(members))
            self.by_order.append(
                Entries(sorted_ranks[firsts], members[firsts], np.diff(np.append(firsts, len(places))))
            )
        self.tree = NgramTree(vocabulary, np.concatenate([*edges[1:], [_NO_EDGE]]), tuple(bounds))

    @property
    def entries(self) -> Entries:
        """All entries."""
        return Entries(*map(np.concatenate, zip(*self.by_order, strict=True)))


def _number_words(captions: Sequence[str], eos: str | None) -> tuple[IntArray, dict[str, int], IntArray]:
    """Ranks of all words in a row, the rank of each different word, and the number of words of each caption."""
    lengths = []

    def split() -> Iterator[list[str]]:
        for caption in captions:
            words = caption.split()
            if eos is not None:
                words.append(eos)
            lengths.append(len(words))
            yield words

    vocabulary: defaultdict[str, int] = defaultdict(count().__next__)
    # Words are numbered as they are split off: holding all of them would cost more than making them.
    ranks = np.fromiter(map(vocabulary.__getitem__, chain.from_iterable(split())), np.int64)
    return ranks, dict(vocabulary), np.array(lengths, np.int64)


def sort_with(keys: IntArray, values: IntArray) -> tuple[IntArray, IntArray]:
    """Sort keys, and values by their keys; for equal keys by value.

    Args:
        keys: Not negative. Shape (N,).
        values: Not negative, ascending. Shape (N,).

    Returns:
        Both, sorted.
    """
    bits = int(values[-1]).bit_length() if len(values) else 0
    if len(keys) and int(keys.max()) >> (63 - bits):
        order = np.argsort(keys, kind="stable")
        return keys[order], values[order]
    # Sorting integers is several times as fast as finding the order that sorts them, so that the values ride along.
    packed = keys << bits
    packed |= values
    packed.sort()
    sorted_keys = packed >> bits
    packed &= (1 << bits) - 1
    return sorted_keys, packed


def differs(ordered: NDArray[np.integer]) -> NDArray[np.bool_]:
    """True where a value is not the one before. Shape (N,)."""
    differs = np.ones(len(ordered), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=differs[1:])
    return differs


class DocumentNgrams:
    """Entries by document: those of one n-gram in the captions of one document are a group.

    Attributes:
        captions, counts: As in ``Entries``, but ordered by document, then n-gram, then caption. Shapes (E,).
    """

    def __init__(self, entries: Entries, documents: IntArray, size: int) -> None:
        """Group the entries.

        Args:
            entries: Of the captions of all documents.
            documents: Document of each caption. Shape (number of captions,).
            size: Number of different n-grams.
        """
        self._bits = size.bit_length()
        keys = documents[entries.captions] << self._bits
        keys |= entries.ranks
        keys, order = sort_with(keys, np.arange(len(keys)))
        self.captions, self.counts = entries.captions[order], entries.counts[order]
        firsts = np.flatnonzero(differs(keys))
        self._keys, self._starts = keys[firsts], np.append(firsts, len(keys))
        self._size = size

    @property
    def document_counts(self) -> IntArray:
        """How many documents have each n-gram. Shape (size,)."""
        return np.bincount(self._keys & ((1 << self._bits) - 1), minlength=self._size)

    def find(self, documents: IntArray, ranks: IntArray) -> tuple[IntArray, IntArray]:
        """Look up n-grams in documents.

        Args:
            documents: Where to look. Shape (N,).
            ranks: What for; -1 for an n-gram that no document has. Shape (N,).

        Returns:
            All matches: positions in ``ranks``, and entries. Both of shape (number of matches,).
        """
        asked = np.flatnonzero(ranks >= 0)
        # Sorted, as then the search stays in the same part of the memory.
        wanted, asked = sort_with(documents[asked] << self._bits | ranks[asked], asked)
        groups = np.searchsorted(self._keys, wanted)
        groups[groups == len(self._keys)] = 0  # Larger than all keys: some position that exists, but does not match.
        found = self._keys[groups] == wanted
        groups, asked = groups[found], asked[found]
        firsts = self._starts[groups]
        return repeat_ranges(asked, firsts, self._starts[groups + 1] - firsts)


def repeat_ranges(values: IntArray, firsts: IntArray, sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Each value as often as its size says, beside the numbers that count up from its first one."""
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(values, sizes), np.repeat(firsts, sizes) + within
