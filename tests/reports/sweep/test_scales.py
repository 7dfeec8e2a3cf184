from __future__ import annotations

import math
import random

import pytest

from reports.sweep.scales import compact, linear_scale, make_scale, shorten, show


def labels(scale) -> list[str]:
    return [tick.label for tick in scale.ticks]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.0, 19.0], "linear"),
        ([1.0, 20.0], "log"),
        ([0.0, 1.0, 20.0], "log"),
        ([0.0, 1e-5], "linear"),
        ([-1.0, 1.0, 20.0], "linear"),
        ([0, 0], "linear"),
        ([5e-4], "linear"),
        ([1e-3, None], "categories"),
        ([True, False], "categories"),
        ([1.0, float("nan")], "categories"),
        ([["a", "b"], ["a"]], "categories"),
    ],
)
def test_make_scale_kind_follows_from_the_values(values, kind):
    assert make_scale(values, 5).kind == kind


def test_make_scale_log_places_by_hand():
    scale = make_scale([1e-4, 1e-2, 1e-3], 5)

    # Two decades and a twentieth of them free on either side: 2.2 decades, of which the first value is 0.1 in.
    assert [scale.place(value) for value in (1e-4, 1e-3, 1e-2)] == pytest.approx([10 / 2.2, 50, 210 / 2.2], abs=0.01)
    assert labels(scale) == ["0.0001", "0.001", "0.01"]
    assert scale.gap is None


def test_make_scale_zeros_stand_below_a_gap():
    scale = make_scale([0.0, 1e-7, 1e-5, 1e-4], 5)

    assert scale.place(0.0) == 0
    assert 0 < scale.gap < scale.foot < scale.place(1e-7) < scale.place(1e-5) < scale.place(1e-4) < 100
    assert labels(scale) == ["0", "1e-7", "1e-5", "0.0001"]


def test_make_scale_linear_leaves_a_margin():
    scale = make_scale([10, 20], 5)

    assert scale.place(15) == 50
    assert scale.place(10) == pytest.approx(100 * 0.5 / 11, abs=0.01)  # from 9.5 to 20.5
    assert labels(scale) == ["10", "20"]


def test_make_scale_too_many_values_for_their_own_ticks_get_round_ones():
    assert labels(make_scale([0.0141, 0.0261, 0.06, 0.0612, 0.12, 0.177, 0.267], 5)) == [
        *("0.05", "0.10", "0.15", "0.20", "0.25"),
    ]
    assert labels(make_scale([1, 2, 3, 4, 5, 6, 7], 5)) == ["2", "4", "6"]


def test_make_scale_values_close_together_get_round_ticks():
    assert labels(make_scale([1e-3, 1.01e-3, 1e-1], 5)) == ["0.001", "0.01", "0.1"]


@pytest.mark.parametrize(("low", "high"), [(1e-9, 1.0), (0.012, 0.25), (3e-4, 0.04), (1e-5, 5e-3), (1, 20), (7, 150)])
@pytest.mark.parametrize("zero", [True, False])
def test_make_scale_log_ticks_are_neither_few_nor_crowded(low, high, zero):
    numbers = [low * (high / low) ** (i / 20) for i in range(21)]
    scale = make_scale([0.0, *numbers] if zero else numbers, 15)

    places = [tick.at for tick in scale.ticks]
    assert 3 <= len(places) <= 8
    assert min(b - a for a, b in zip(places, places[1:], strict=False)) > 9
    assert [scale.place(float(tick.label)) for tick in scale.ticks] == pytest.approx(places, abs=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_make_scale_linear_ticks_are_neither_few_nor_crowded(seed):
    generator = random.Random(seed)
    low = generator.uniform(-5, 5)
    scale = make_scale([low + generator.random() * 10 ** generator.uniform(-6, 6) for _ in range(30)], 15)

    places = [tick.at for tick in scale.ticks]
    assert 3 <= len(places) <= 7
    assert 0 <= min(places)
    assert max(places) <= 100


def test_make_scale_one_value_stands_in_the_middle():
    for value in (3e-4, 0, -7, 1e22):
        scale = make_scale([value, value], 5)
        assert scale.place(value) == 50
        assert labels(scale) == [show(value)]


def test_make_scale_categories_stand_in_order_and_evenly():
    scale = make_scale(["words", 2, "code", None, True, 0.5, False, "words", [1, "a"]], 5)

    assert labels(scale) == ["null", "false", "true", "0.5", "2", "words", "code", '[1,"a"]']
    assert [tick.at for tick in scale.ticks] == pytest.approx([100 * (i + 0.5) / 8 for i in range(8)], abs=0.01)
    assert scale.place("code") == scale.ticks[6].at


def test_make_scale_categories_that_json_tells_apart_stay_apart():
    scale = make_scale(["1", 1, True, "true"], 5)

    assert len({scale.place(value) for value in ("1", 1, True, "true")}) == 4


def test_make_scale_many_categories_label_some():
    scale = make_scale([f"name {i}" for i in range(100)], 5)

    assert labels(scale) == [f"name {i}" for i in range(0, 100, 5)]
    assert scale.place("name 99") == 99.5


def test_linear_scale_ends_on_round_numbers_with_the_same_decimals():
    scale = linear_scale([0.571, 0.629])

    assert labels(scale) == ["0.56", "0.58", "0.60", "0.62", "0.64"]
    assert (scale.place(0.56), scale.place(0.6), scale.place(0.64)) == pytest.approx((0, 50, 100))


def test_linear_scale_differences_of_rounding_are_one_value():
    scale = linear_scale([0.1 + 0.2, 0.3])

    assert scale.place(0.3) == pytest.approx(50)
    assert labels(scale) == ["0.3"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-05, "1e-5"), (0.0001, "0.0001"), (0.00208, "0.00208"), (2.5e20, "2.5e20"), (3, "3"), (1 / 3, "0.333333")],
)
def test_compact_is_short(number, text):
    assert compact(number) == text
    assert math.isclose(float(text), number, rel_tol=1e-5)


@pytest.mark.parametrize(
    ("value", "text"), [("Sweet", "Sweet"), (None, "null"), (True, "true"), (["a", 1], '["a",1]'), (1e-7, "1e-7")]
)
def test_show_value_of_any_kind_is_text(value, text):
    assert show(value) == text


@pytest.mark.parametrize(("limit", "short"), [(9, "abcd…wxyz"), (8, "abcd…xyz"), (12, "abcdefuvwxyz")])
def test_shorten_keeps_both_ends(limit, short):
    assert shorten("abcdefuvwxyz", limit) == short
    assert len(short) <= limit
