from __future__ import annotations

import numpy as np

from preprocessors.checks.near import NEAR, near_pairs
from preprocessors.pictures.record import FACTS


def rows_of(hashes: list[tuple[int, int]]):
    rows = np.zeros(len(hashes), FACTS)
    rows["key"] = rows["file_hash"] = rows["pixel_hash"] = np.arange(1, len(hashes) + 1)
    rows["across"], rows["down"] = zip(*hashes, strict=True)
    return rows


def test_pairs_found_by_bands_are_those_found_by_comparing_each_with_each():
    generator = np.random.default_rng(3)
    hashes = [tuple(int(number) for number in generator.integers(0, 2**63, 2)) for _ in range(60)]
    for place in range(20):  # twins, 1 to 7 bits away
        across, down = hashes[place]
        for bit in generator.choice(63, place % 7 + 1, replace=False):
            across, down = (across ^ (1 << int(bit)), down) if bit % 2 else (across, down ^ (1 << int(bit)))
        hashes.append((across, down))
    expected = [
        (first, second)
        for first in range(80)
        for second in range(first + 1, 80)
        if sum((a ^ b).bit_count() for a, b in zip(hashes[first], hashes[second], strict=True)) <= NEAR
    ]
    assert len(expected) == 20
    assert near_pairs(rows_of(hashes)) == expected


def test_limit_by_hand():
    far = 2**NEAR - 1  # 14 bits, of which 16 and more are left in other bands
    assert near_pairs(rows_of([(5, 9), (5 ^ (far << 20), 9)])) == [(0, 1)]
    assert near_pairs(rows_of([(5, 9), (5 ^ ((2 * far + 1) << 20), 9)])) == []


def test_flat_unknown_and_same_pictures_make_no_pair():
    rows = rows_of([(1, 1)] * 4)
    rows["is_flat"][0], rows["key"][1], rows["file_hash"][2] = True, 0, rows["file_hash"][3]
    assert near_pairs(rows) == []
    assert near_pairs(rows[:0]) == []
