"""METEOR's search for the best alignment, of many pairs of captions side by side.

Each pair has a queue of up to 40 partial alignments, which grows over the words of the reference. A row below is a
partial alignment; the rows of a pair stand together, in the order of its queue, which decides between equals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.meteor.matching import EXACT, Numbers

IntArray = NDArray[np.int64]

BEAM = 40
_MOST_ROWS = 500_000
_NONE = -1
_BITS = 64


class Problem(NamedTuple):
    """A pair of captions."""

    matches: Sequence[Numbers]
    """Those that start at a word of the reference stand in the order in which they are tried."""
    length: int
    """Words of the reference."""
    other_length: int
    """Words of the hypothesis."""


class Alignments(NamedTuple):
    """What was chosen of many pairs."""

    pair: IntArray
    """The pair of each match, ascending. Shape (K,)."""
    matches: IntArray
    """As ``matching.Match``, those of a pair in the order of the reference. Shape (K, 5)."""
    chunks: IntArray
    """Shape (pairs,)."""


@dataclass
class _Rows:
    """Partial alignments. All arrays have shape (S,), ``used`` (S, W)."""

    pair: IntArray
    used: NDArray[np.uint64]
    """Words that are matched or promised: bits of the reference and, behind them, of the hypothesis."""
    gain: IntArray
    chunks: IntArray
    distance: IntArray
    end: IntArray
    """Where in the hypothesis the match of the word before ended; -1 if that word has none."""
    place: IntArray
    """The first word of the reference that is not dealt with."""

    def take(self, rows: IntArray | NDArray[np.bool_]) -> _Rows:
        return _Rows(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class _Table:
    """The matches of all pairs one behind the other, and where those of a pair and a word begin."""

    start: IntArray
    length: IntArray
    other_start: IntArray
    other_length: IntArray
    gain: IntArray
    distance: IntArray
    used: NDArray[np.uint64]
    first: IntArray
    """Shape (pairs, words): the place of the first one here."""
    count: IntArray
    promised: IntArray
    """Shape (pairs, words): the match that is sure to be taken, -1 where there is none."""
    lengths: IntArray
    """Words of each reference. Shape (pairs,)."""


@dataclass(frozen=True)
class _Matches:
    """All matches of all pairs, by pair and word of the reference, in the order in which they are tried."""

    pair: IntArray
    """Shape (M,)."""
    rows: IntArray
    """As ``matching.Match``. Shape (M, 5)."""
    sure: NDArray[np.bool_]
    """Which share no word with another, so that they are sure to be taken. Shape (M,)."""
    counts: IntArray
    """Of each pair. Shape (pairs,)."""
    lengths: IntArray
    other_lengths: IntArray

    def of(self, pairs: IntArray) -> IntArray:
        """The places here of the matches of some pairs, one pair behind the other."""
        ends, counts = np.cumsum(self.counts)[pairs], self.counts[pairs]
        return np.arange(counts.sum()) + np.repeat(ends - np.cumsum(counts), counts)


def align_all(problems: Sequence[Problem]) -> Alignments:
    """The alignment of each pair that METEOR finds.

    Most words matched, weighed by stage and rounded down for each match; of those fewest chunks; of those least
    distance between the places matched. Two quirks decide between alignments and are kept: halves of a word do not
    count, and a partial alignment also carries the distance of the matches that were tried on it and became others'.
    """
    matches = _collect(problems)
    pairs = len(problems)
    # A pair is done if at each of its words there is nothing to choose.
    is_first = np.ones(len(matches.pair), dtype=np.bool_)
    is_first[1:] = (matches.pair[1:] != matches.pair[:-1]) | (matches.rows[1:, 0] != matches.rows[:-1, 0])
    starts = np.bincount(matches.pair[is_first], minlength=pairs)
    done = np.bincount(matches.pair[matches.sure], minlength=pairs) == starts
    taken = matches.sure & done[matches.pair]
    chunks = _count_chunks(matches.pair[taken], matches.rows[taken], pairs)
    most = np.zeros(pairs, dtype=np.int64)
    bounds = np.append(np.flatnonzero(is_first), len(is_first))
    np.maximum.at(most, matches.pair[is_first], np.diff(bounds))
    for batch in _batches(np.flatnonzero(~done), most, matches):
        own = matches.of(batch)
        chosen, chunks[batch] = _search(_tabulate(batch, own, matches))
        taken[own[chosen]] = True
    return Alignments(matches.pair[taken], matches.rows[taken], chunks)


def _collect(problems: Sequence[Problem]) -> _Matches:
    counts = np.array([len(problem.matches) for problem in problems], dtype=np.int64)
    lengths = np.array([problem.length for problem in problems], dtype=np.int64)
    other_lengths = np.array([problem.other_length for problem in problems], dtype=np.int64)
    numbers = chain.from_iterable(chain.from_iterable(problem.matches for problem in problems))
    rows = np.fromiter(numbers, np.int64).reshape(-1, 5)
    pair = np.repeat(np.arange(len(problems)), counts)
    # Places among the words of all references, and of the hypotheses, of all pairs.
    places = (np.cumsum(lengths) - lengths)[pair] + rows[:, 0]
    order = np.argsort(places, kind="stable")
    pair, rows, places = pair[order], rows[order], places[order]
    other_places = (np.cumsum(other_lengths) - other_lengths)[pair] + rows[:, 2]
    shared = _shared(places, rows[:, 1], lengths.sum()) | _shared(other_places, rows[:, 3], other_lengths.sum())
    return _Matches(pair, rows, ~shared, counts, lengths, other_lengths)


def _shared(start: IntArray, length: IntArray, words: int) -> NDArray[np.bool_]:
    """Which spans share a word with another. Shape (M,)."""
    owner = np.repeat(np.arange(len(start)), length)
    word = np.repeat(start - (np.cumsum(length) - length), length) + np.arange(len(owner))
    covered = np.bincount(word, minlength=words)
    found: NDArray[np.bool_] = np.bincount(owner[covered[word] > 1], minlength=len(start)) > 0
    return found


def _count_chunks(pair: IntArray, rows: IntArray, pairs: int) -> IntArray:
    """How many runs the matches of each pair make that are contiguous and in the same order in both captions."""
    start, length, other_start, other_length, _ = rows.T
    breaks = np.ones(len(pair), dtype=np.bool_)
    breaks[1:] = (
        (pair[1:] != pair[:-1])
        | (start[1:] != (start + length)[:-1])
        | (other_start[1:] != (other_start + other_length)[:-1])
    )
    return np.bincount(pair[breaks], minlength=pairs)


def _batches(pairs: IntArray, most: IntArray, matches: _Matches) -> Iterator[IntArray]:
    """Pairs of about the same size, as many as memory is planned for.

    Args:
        pairs: Those to search.
        most: Matches at one word of each pair, the most. Shape (all pairs,).
        matches: All.
    """
    ordered = pairs[np.argsort(matches.lengths[pairs], kind="stable")]
    width = -(-(matches.lengths + matches.other_lengths) // _BITS)
    rows = (BEAM * (1 + most) * width)[ordered].tolist()
    start, largest = 0, 0
    for place, size in enumerate(rows):
        largest = max(largest, size)
        if place > start and (place - start + 1) * largest > _MOST_ROWS:
            yield ordered[start:place]
            start, largest = place, size
    if start < len(rows):
        yield ordered[start:]


def _search(table: _Table) -> tuple[IntArray, IntArray]:
    """Which matches are chosen, and the chunks that they make of each pair."""
    rows = _start(table)
    beams = np.full(len(table.lengths), BEAM)
    words = int(table.lengths.max())
    history: list[tuple[IntArray, IntArray]] = []
    for place in range(words):
        rows, parents, chosen = _advance(rows, place, table)
        order = _best_first(rows, beams)
        rows = rows.take(order)
        ends = table.lengths == place + 1
        if ends.any():
            # What is left of a pair is its best row, which no later word concerns.
            beams[ends] = 1
            last = np.flatnonzero(ends[rows.pair])
            rows.chunks[last] += rows.end[last] != _NONE
            rows.place[last] = words
            best = _best_first(rows, beams)
            rows, order = rows.take(best), order[best]
        history.append((parents[order], chosen[order]))
    return _trace(history, len(table.lengths)), rows.chunks


def _tabulate(pairs: IntArray, own: IntArray, matches: _Matches) -> _Table:
    """The table of some pairs, whose matches are at ``own``."""
    lengths, counts = matches.lengths[pairs], matches.counts[pairs]
    words = int(lengths.max())
    start, length, other_start, other_length, stage = matches.rows[own].T
    cells = np.repeat(np.arange(len(pairs)) * words, counts) + start
    count = np.bincount(cells, minlength=len(pairs) * words)
    first = np.cumsum(count) - count
    promised = np.full(len(count), _NONE)
    sure = np.flatnonzero(matches.sure[own])
    promised[cells[sure]] = sure
    width = int(-(-(lengths + matches.other_lengths[pairs]).max() // _BITS))
    # A match that is not exact weighs half, and what that makes of its words is rounded down.
    gain = np.where(stage == EXACT, length + other_length, length // 2 + other_length // 2)
    behind = np.repeat(lengths, counts) + other_start
    shape = (len(pairs), words)
    return _Table(
        *(start, length, other_start, other_length, gain, np.abs(start - other_start)),
        used=_bits(start, length, width) | _bits(behind, other_length, width),
        first=first.reshape(shape),
        count=count.reshape(shape),
        promised=promised.reshape(shape),
        lengths=lengths,
    )


def _bits(start: IntArray, length: IntArray, width: int) -> NDArray[np.uint64]:
    """Masks with the bits from ``start`` on, ``length`` of them. Shape (N, width)."""
    bits = np.zeros((len(start), width), dtype=np.uint64)
    rows = np.arange(len(start))
    for step in range(int(length.max(initial=0))):
        inside = length > step
        place = (start + step)[inside]
        bits[rows[inside], place // _BITS] |= np.uint64(1) << (place % _BITS).astype(np.uint64)
    return bits


def _start(table: _Table) -> _Rows:
    """One empty alignment for each pair, in which the promised matches have their words."""
    pairs = len(table.lengths)
    used = np.zeros((pairs, table.used.shape[1]), dtype=np.uint64)
    row, place = np.nonzero(table.promised != _NONE)
    np.bitwise_or.at(used, row, table.used[table.promised[row, place]])
    gain, chunks, distance, first = np.zeros((4, pairs), dtype=np.int64)
    return _Rows(np.arange(pairs), used, gain, chunks, distance, np.full(pairs, _NONE), first)


def _advance(rows: _Rows, place: int, table: _Table) -> tuple[_Rows, IntArray, IntArray]:
    """Every alignment with each match at a word, and then without one.

    Returns:
        The rows, of each the row that it comes from, and the match that it took here, -1 for none.
    """
    size = len(rows.pair)
    inside = rows.place > place
    sure = np.where(inside, _NONE, table.promised[rows.pair, place])
    free = ~inside & (sure == _NONE)
    parents, tried = _possible(rows, np.where(free, table.count[rows.pair, place], 0), place, table)
    children = np.bincount(parents, minlength=size)
    behind = np.cumsum(children)
    # A row stands behind its children.
    source, match = np.empty(size + len(parents), dtype=np.int64), np.full(size + len(parents), _NONE)
    own, theirs = behind + np.arange(size), np.arange(len(parents)) + parents
    source[own], source[theirs] = np.arange(size), parents
    match[own], match[theirs] = sure, tried
    grown = rows.take(source)
    # What was tried before a child, and for the row itself everything, adds to its distance.
    tried_before = np.concatenate([[0], np.cumsum(table.distance[tried])])
    grown.distance[theirs] += tried_before[:-1] - tried_before[behind - children][parents]
    grown.distance[own] += tried_before[behind] - tried_before[behind - children]
    grown.distance[own] += np.where(sure != _NONE, table.distance[sure], 0)
    taken = np.flatnonzero(match != _NONE)
    _take(grown, taken, match[taken], table)
    without = np.flatnonzero((match == _NONE) & free[source])
    grown.chunks[without] += grown.end[without] != _NONE
    grown.end[without] = _NONE
    grown.place[without] += 1
    return grown, source, match


def _possible(rows: _Rows, count: IntArray, place: int, table: _Table) -> tuple[IntArray, IntArray]:
    """The matches at a word whose words are free: of each the row and the match."""
    parents = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(parents)) - np.repeat(np.cumsum(count) - count, count)
    matches = table.first[rows.pair[parents], place] + within
    possible = ~(rows.used[parents] & table.used[matches]).any(axis=1)
    return parents[possible], matches[possible]


def _take(rows: _Rows, taken: IntArray, match: IntArray, table: _Table) -> None:
    """Add a match to each of some rows, in place."""
    rows.used[taken] |= table.used[match]
    rows.gain[taken] += table.gain[match]
    end, start = rows.end[taken], table.other_start[match]
    rows.chunks[taken] += (end != _NONE) & (end != start)
    rows.end[taken] = start + table.other_length[match]
    rows.place[taken] = table.start[match] + table.length[match]


def _best_first(rows: _Rows, beams: IntArray) -> IntArray:
    """The places of the best rows of each pair, best first, equals in the order they have; as many as its beam."""
    columns = (rows.pair, rows.gain.max(initial=0) - rows.gain, rows.chunks, rows.distance)
    bits = [int(column.max(initial=0)).bit_length() for column in columns]
    if sum(bits) < _BITS:
        key = columns[0]
        for column, width in zip(columns[1:], bits[1:], strict=True):
            key = (key << width) | column
        order = np.argsort(key, kind="stable")
    else:
        order = np.lexsort(columns[::-1])
    counts = np.bincount(rows.pair, minlength=len(beams))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[rank < beams[rows.pair]]


def _trace(history: list[tuple[IntArray, IntArray]], pairs: int) -> IntArray:
    """Back from the last row of each pair to the matches on its way."""
    found = []
    rows = np.arange(pairs)
    for parents, taken in reversed(history):
        chosen = taken[rows]
        found.append(chosen[chosen != _NONE])
        rows = parents[rows]
    return np.concatenate(found)
