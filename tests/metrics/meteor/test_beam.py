"""The search side by side gives what the same search gives one pair at a time, without arrays."""

from __future__ import annotations

import random

import pytest

from metrics.meteor import beam
from metrics.meteor.beam import BEAM, Problem, align_all
from metrics.meteor.matching import EXACT, PARAPHRASE, STEM, Match

HALVES = (1, 0.5, 0.5, 0.5)


def aligned(problems: list[Problem]) -> list[tuple[list[Match], int]]:
    """Of each pair the matches chosen, and the chunks that they make."""
    found = align_all(problems)
    chosen = [(int(pair), Match(*match)) for pair, match in zip(found.pair, found.matches.tolist(), strict=True)]
    return [
        ([match for pair, match in chosen if pair == number], int(found.chunks[number]))
        for number in range(len(problems))
    ]


def search_plainly(problem: Problem) -> tuple[list[Match], int]:
    """The same by lists: states are [-gain, chunks, distance, end, place, taken words, matches]."""
    taken = {match: words_of(match) for match in problem.matches}
    sure = {match.start: match for match in promised(problem)}
    states = [[0, 0, 0, -1, 0, frozenset().union(*(taken[match] for match in sure.values())), ()]]
    for place in range(problem.length):
        matches = [match for match in problem.matches if match.start == place]
        grown = []
        for state in sorted(states, key=lambda each: each[:3])[:BEAM]:
            if state[4] <= place and place in sure:
                add(state, sure[place])
                state[2] += abs(place - sure[place].other_start)
            elif state[4] <= place:
                for match in matches:
                    if not taken[match] & state[5]:
                        child = state.copy()
                        child[5] = child[5] | taken[match]
                        add(child, match)
                        state[2] += abs(place - match.other_start)
                        grown.append(child)
                state[1] += state[3] != -1
                state[3], state[4] = -1, place + 1
            grown.append(state)
        states = grown
    states = sorted(states, key=lambda each: each[:3])[:BEAM]
    for state in states:
        state[1] += state[3] != -1
    best = min(states, key=lambda each: each[:3])
    return list(best[6]), best[1]


def words_of(match: Match) -> frozenset[tuple[str, int]]:
    here = {("reference", place) for place in range(match.start, match.start + match.length)}
    there = {("hypothesis", place) for place in range(match.other_start, match.other_start + match.other_length)}
    return frozenset(here | there)


def promised(problem: Problem) -> list[Match]:
    every = problem.matches
    return [match for match in every if sum(bool(words_of(match) & words_of(other)) for other in every) == 1]


def add(state: list, match: Match) -> None:
    half = HALVES[match.stage]
    state[0] -= int(match.length * half) + int(match.other_length * half)
    state[1] += state[3] not in (-1, match.other_start)
    state[3], state[4] = match.other_start + match.other_length, match.start + match.length
    state[6] = (*state[6], match)


def random_problem(draw: random.Random, longest: int) -> Problem:
    length, other_length = draw.randint(1, longest), draw.randint(1, longest)
    matches = []
    for _ in range(draw.randint(0, 3 * length)):
        start, other = draw.randrange(length), draw.randrange(other_length)
        if draw.random() < 0.6:
            match = Match(start, 1, other, 1, draw.choice([EXACT, EXACT, STEM]))
        else:
            ends = draw.randint(1, min(3, length - start)), draw.randint(1, min(3, other_length - other))
            match = Match(start, ends[0], other, ends[1], PARAPHRASE)
        matches.append(match)
    return Problem(matches, length, other_length)


@pytest.mark.parametrize("longest", [3, 8, 20, 45])
def test_align_all_equals_the_search_of_each_pair_alone(longest):
    draw = random.Random(longest)
    problems = [random_problem(draw, longest) for _ in range(120 if longest < 40 else 25)]

    assert aligned(problems) == [search_plainly(problem) for problem in problems]


def test_align_all_keys_too_long_for_one_number_are_sorted_column_by_column(monkeypatch):
    problems = [random_problem(random.Random(seed), 8) for seed in range(40)]
    expected = aligned(problems)
    monkeypatch.setattr(beam, "_BITS", 3)
    monkeypatch.setattr(beam, "_bits", wide_bits(beam._bits))

    assert aligned(problems) == expected


def wide_bits(bits):
    """As many words of 64 bits as asked for, of which only three bits each are used."""
    return lambda start, length, width: bits(start, length, width)


def test_align_all_repeated_words_prefer_few_chunks():
    # "a b a" against "a a b": the second a with the b behind it is one chunk, the other a another.
    matches = [Match(0, 1, 0, 1, EXACT), Match(0, 1, 1, 1, EXACT), Match(1, 1, 2, 1, EXACT)]
    matches += [Match(2, 1, 0, 1, EXACT), Match(2, 1, 1, 1, EXACT)]

    assert aligned([Problem(matches, 3, 3)]) == [([matches[1], matches[2], matches[3]], 2)]


def test_align_all_nothing_to_match_is_empty():
    assert aligned([Problem([], 0, 3), Problem([], 2, 0)]) == [([], 0)] * 2
    assert aligned([]) == []


def test_align_all_gap_and_jump_each_begin_a_chunk_where_there_is_nothing_to_choose():
    matches = [
        Match(0, 1, 3, 1, EXACT),
        Match(1, 2, 4, 1, PARAPHRASE),
        Match(4, 1, 5, 1, EXACT),
        Match(5, 1, 0, 1, EXACT),
    ]

    assert aligned([Problem(matches, 6, 6)] * 2) == [(matches, 3)] * 2
