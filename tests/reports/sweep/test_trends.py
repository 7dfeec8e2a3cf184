from __future__ import annotations

import itertools
import random

import pytest

from reports.sweep.measures import Measure
from reports.sweep.trends import MAX_EXACT, describe_trend, rank_correlation


def measure(values, *, lower: bool) -> Measure:
    return Measure("number", lower, dict(enumerate(values)), {})


def describe(settings, values, *, lower: bool) -> str:
    return describe_trend(dict(enumerate(settings)), measure(values, lower=lower))


@pytest.mark.parametrize(
    ("values", "lower", "expected"),
    [
        ([1, 2, 3, 4, 5, 6], True, "rank correlation +1.00 (n = 6, p = 0.0028): lower values did better"),
        ([6, 5, 4, 3, 2, 1], True, "rank correlation −1.00 (n = 6, p = 0.0028): higher values did better"),
        ([1, 2, 3, 4, 5, 6], False, "rank correlation +1.00 (n = 6, p = 0.0028): higher values did better"),
        ([6, 5, 4, 3, 2, 1], False, "rank correlation −1.00 (n = 6, p = 0.0028): lower values did better"),
    ],
)
def test_describe_trend_names_the_better_end(values, lower, expected):
    # Of 6! = 720 orders, the sorted one and its reverse correlate as much: 2 / 720 = 0.0028.
    assert describe([1e-5, 2e-5, 1e-4, 3e-4, 1e-3, 2e-3], values, lower=lower) == expected


def test_describe_trend_few_trials_in_perfect_order_are_no_clear_trend():
    # 2 of 4! orders: 0.083. The formula for many says 0.
    expected = "no clear trend in so few trials (rank correlation +1.00, n = 4, p = 0.083)"
    assert describe([1, 2, 3, 4], [1, 2, 3, 4], lower=True) == expected


def test_describe_trend_best_in_the_middle_is_told_as_a_range():
    settings = [float(f"{10**-i:g}") for i in range(9)]
    reading = describe(settings, [abs(i - 4) for i in range(9)], lower=True)

    assert reading.startswith("no clear trend in so few trials (rank correlation +0.00, n = 9, p = 1)")
    assert reading.endswith("; the best 3 are between 1e-5 and 0.001")


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ([0, 1, 1, 1, 1, 1, 1, 1], "spread over the whole range"),
        ([5, 5, 1, 1, 1, 1, 9, 9], "all at 5"),
        ([5, 6, 1, 1, 1, 1, 9, 9], "between 5 and 6"),
    ],
)
def test_describe_trend_says_where_the_best_quarter_is(settings, where):
    reading = describe(settings, [9, 8, 1, 2, 3, 4, 5, 6], lower=False)

    assert reading.endswith(f"; the best 2 are {where}")


def test_describe_trend_categories_get_their_means_best_first():
    settings, values = ["words", "code", "words", None], [1.0, 4.0, 2.0, 3.0]

    assert describe(settings, values, lower=True) == (
        "means, the best first: words 1.500 (n = 2), null 3.000 (n = 1), code 4.000 (n = 1)"
    )
    assert describe(settings, values, lower=False) == (
        "means, the best first: code 4.000 (n = 1), null 3.000 (n = 1), words 1.500 (n = 2)"
    )


def test_describe_trend_categories_whose_short_names_are_alike_stay_apart():
    settings = [f"/a/long/path/to/{name}/model/in/a/folder" for name in ("first", "other")]

    reading = describe(settings, [1.0, 2.0], lower=True)
    assert reading.count("(n = 1)") == 2


def test_describe_trend_many_categories_are_counted():
    reading = describe([f"name {i}" for i in range(9)], range(9), lower=True)

    assert reading.startswith("means, the best first: name 0 0.000 (n = 1), name 1")
    assert reading.endswith("name 3 3.000 (n = 1) and 5 more")


def test_describe_trend_leaves_out_configurations_without_a_value():
    reading = describe_trend({7: 1, 8: 2, 9: 3, 10: 4}, Measure("number", True, {8: 2.0, 9: 3.0, 10: 1.0}, {}))

    assert "n = 3" in reading


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ([1, 1, 1], [1, 2, 3], "one value only (n = 3): nothing to compare"),
        ([1, 2, 3], [2, 2, 2], "n = 3: too few different results to tell"),
        ([1, 2], [1, 2], "n = 2: too few different results to tell"),
        ([1, 2], [], "one value only (n = 0): nothing to compare"),
    ],
)
def test_describe_trend_nothing_to_compare_says_so(settings, values, expected):
    assert describe(settings, values, lower=True) == expected


def test_rank_correlation_with_equal_numbers_by_hand():
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, variances 4.5 and 5.
    found = rank_correlation([10, 20, 20, 30], [1, 2, 3, 4])

    assert found.value == pytest.approx(4.5 / (4.5 * 5) ** 0.5)
    # The same, or its negative, for the two orders of the equal ones: 4 of 24.
    assert found.p == pytest.approx(4 / 24)


def test_rank_correlation_few_agree_with_all_orders():
    generator = random.Random(3)
    first, second = [[generator.randint(1, 5) for _ in range(6)] for _ in range(2)]

    from scipy.stats import spearmanr

    found = rank_correlation(first, second)
    every = [abs(spearmanr(first, order).statistic) for order in itertools.permutations(second)]
    assert found.p == pytest.approx(sum(value >= abs(found.value) - 1e-9 for value in every) / len(every))


def test_rank_correlation_exact_p_meets_the_formula_where_it_ends():
    generator = random.Random(1)
    first, second = [[generator.random() for _ in range(MAX_EXACT)] for _ in range(2)]

    from scipy.stats import spearmanr

    assert rank_correlation(first, second).p == pytest.approx(spearmanr(first, second).pvalue, abs=0.03)
