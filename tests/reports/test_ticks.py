from __future__ import annotations

import pytest

from reports.ticks import ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (2.03, 6.9, [2, 3, 4, 5, 6, 7]),
        (0, 3750, [0, 1000, 2000, 3000, 4000]),
        (0.101, 0.149, [0.1, 0.11, 0.12, 0.13, 0.14, 0.15]),
        (2.5, 2.5, [2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6]),
    ],
)
def test_ticks_are_round_and_enclose_the_range(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_very_small_numbers_stay_apart():
    assert ticks(0, 1e-11) == pytest.approx([0, 2e-12, 4e-12, 6e-12, 8e-12, 1e-11], rel=1e-9, abs=0)
