"""METEOR's search for the best alignment, of many pairs of captions side by side.

Each pair has a queue of up to 40 partial alignments, which grows over the words of the reference. A row below is a
partial alignment; the rows of a pair stand together, in the order of its queue, which decides between equals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metrics.meteor.matching import EXACT, Match

IntArray = NDArray[np.int64]

BEAM = 40
_MOST_ROWS = 500_000
_NONE = -1
_BITS = 64


@dataclass(frozen=True)
class Problem:
    """The matches of a pair of captions.

    Attributes:
        by_start: Those that start at each word of the reference, in the order in which they are tried.
        other_length: Words of the hypothesis.
    """

    by_start: Sequence[Sequence[Match]]
    other_length: int


@dataclass(frozen=True)
class Alignment:
    """The matches chosen, in the order of the reference, and how many chunks they make."""

    matches: tuple[Match, ...]
    chunks: int


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


def align_all(problems: Sequence[Problem]) -> list[Alignment]:
    """The alignment of each pair that METEOR finds.

    Most words matched, weighed by stage and rounded down for each match; of those fewest chunks; of those least
    distance between the places matched. Two quirks decide between alignments and are kept: halves of a word do not
    count, and a partial alignment also carries the distance of the matches that were tried on it and became others'.
    """
    found: list[Alignment | None] = [None] * len(problems)
    promised = [_promised(problem) for problem in problems]
    open_ones = []
    for number, (problem, sure) in enumerate(zip(problems, promised, strict=True)):
        if len(sure) == sum(map(bool, problem.by_start)):
            found[number] = Alignment(sure, count_chunks(sure))
        else:
            open_ones.append(number)
    for batch in _batches(open_ones, problems):
        chosen = _search([problems[number] for number in batch], [promised[number] for number in batch])
        for number, alignment in zip(batch, chosen, strict=True):
            found[number] = alignment
    return [alignment for alignment in found if alignment is not None]


def count_chunks(matches: Sequence[Match]) -> int:
    """How many runs the matches make that are contiguous and in the same order in both captions."""
    breaks = sum(
        after.start != before.start + before.length or after.other_start != before.other_start + before.other_length
        for before, after in zip(matches, matches[1:], strict=False)
    )
    return breaks + bool(matches)


def _promised(problem: Problem) -> tuple[Match, ...]:
    """The matches that are the only ones at their word and share no word with another."""
    covered, other_covered = [0] * len(problem.by_start), [0] * problem.other_length
    for matches in problem.by_start:
        for start, length, other_start, other_length, _ in matches:
            covered[start] += 1
            other_covered[other_start] += 1
            for place in range(start + 1, start + length):
                covered[place] += 1
            for place in range(other_start + 1, other_start + other_length):
                other_covered[place] += 1
    sure = []
    for matches in problem.by_start:
        if len(matches) == 1:
            start, length, other_start, other_length, _ = match = matches[0]
            if length == other_length == 1:
                alone = covered[start] == other_covered[other_start] == 1
            else:
                both = covered[start : start + length] + other_covered[other_start : other_start + other_length]
                alone = max(both) == 1
            if alone:
                sure.append(match)
    return tuple(sure)


def _batches(numbers: list[int], problems: Sequence[Problem]) -> Iterator[list[int]]:
    """Pairs of about the same size, as many as memory is planned for."""
    batch: list[int] = []
    most = 0
    for number in sorted(numbers, key=lambda number: len(problems[number].by_start)):
        problem = problems[number]
        rows = BEAM * (1 + max(map(len, problem.by_start))) * _width(problem)
        if batch and (len(batch) + 1) * max(most, rows) > _MOST_ROWS:
            yield batch
            batch, most = [], 0
        batch.append(number)
        most = max(most, rows)
    if batch:
        yield batch


def _width(problem: Problem) -> int:
    return -(-(len(problem.by_start) + problem.other_length) // _BITS)


def _search(problems: Sequence[Problem], promised: Sequence[tuple[Match, ...]]) -> list[Alignment]:
    table = _tabulate(problems, promised)
    rows = _start(table)
    beams = np.full(len(problems), BEAM)
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
    return _trace(history, rows.chunks, [match for problem in problems for at in problem.by_start for match in at])


def _tabulate(problems: Sequence[Problem], promised: Sequence[tuple[Match, ...]]) -> _Table:
    words = max(len(problem.by_start) for problem in problems)
    width = max(map(_width, problems))
    count, sure = np.zeros((2, len(problems), words), dtype=np.int64)
    flat: list[int] = []
    for row, problem in enumerate(problems):
        count[row, : len(problem.by_start)] = [len(matches) for matches in problem.by_start]
        sure[row, [match.start for match in promised[row]]] = 1
        for matches in problem.by_start:
            for match in matches:
                flat += match
    first = (np.cumsum(count.ravel()) - count.ravel()).reshape(count.shape)
    start, length, other_start, other_length, stage = np.array(flat, dtype=np.int64).reshape(-1, len(Match._fields)).T
    lengths = np.array([len(problem.by_start) for problem in problems])
    offset = np.repeat(lengths, count.sum(axis=1))
    # A match that is not exact weighs half, and what that makes of its words is rounded down.
    gain = np.where(stage == EXACT, length + other_length, length // 2 + other_length // 2)
    return _Table(
        *(start, length, other_start, other_length, gain, np.abs(start - other_start)),
        used=_bits(start, length, width) | _bits(offset + other_start, other_length, width),
        first=first,
        count=count,
        promised=np.where(sure == 1, first, _NONE),
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


def _trace(history: list[tuple[IntArray, IntArray]], chunks: IntArray, matches: list[Match]) -> list[Alignment]:
    """Back from the last row of each pair to the matches on its way."""
    chosen: list[list[Match]] = [[] for _ in chunks]
    rows = np.arange(len(chunks))
    for parents, taken in reversed(history):
        for pair in np.flatnonzero(taken[rows] != _NONE).tolist():
            chosen[pair].append(matches[taken[rows[pair]]])
        rows = parents[rows]
    return [Alignment(tuple(own[::-1]), number) for own, number in zip(chosen, chunks.tolist(), strict=True)]
