from __future__ import annotations

import re

import pytest

from reports.run.charts import (
    MAX_COUNTED_STYLES,
    MAX_CURVE_POINTS,
    MAX_MISTAKES,
    MAX_NAMED_STYLES,
    Mistake,
    confusion_map,
    line_chart,
    mistakes,
    training_charts,
)

THREE = {"styles": ["Sweet", "Old", "Wise"], "counts": [[9, 1, 0], [3, 1, 0], [0, 0, 0]]}


def test_line_chart_places_points_by_hand():
    chart = line_chart({"train": [(0, 3.0), (50, 2.0), (100, 1.0)], "val": [(200, 2.0)]})

    # Steps 0 to 200 and losses 1 to 3 fill the plot; y runs downwards.
    assert [point["at"] for point in chart["curves"][0]["points"]] == [(0, 0), (25, 50), (50, 100)]
    assert chart["curves"][1]["points"][0]["at"] == (100, 50)
    assert chart["y_ticks"] == [(100, "1"), (75, "1.5"), (50, "2"), (25, "2.5"), (0, "3")]
    assert chart["x_ticks"] == [(0, "0"), (25, "50"), (50, "100"), (75, "150"), (100, "200")]


def test_line_chart_long_curve_is_thinned_to_means():
    chart = line_chart({"train": [(step, float(step % 2)) for step in range(1000)]})

    points = chart["curves"][0]["points"]
    assert len(points) == MAX_CURVE_POINTS
    assert points[0]["step"] == pytest.approx(2)  # mean of 0..4
    assert points[0]["value"] == pytest.approx(2 / 5)


def test_line_chart_values_that_are_not_finite_are_left_out_and_counted():
    chart = line_chart({"train": [(1, 2.0), (2, float("nan")), (3, float("inf"))], "val": [(3, float("nan"))]})

    assert [curve["name"] for curve in chart["curves"]] == ["train"]
    assert chart["not_finite"] == 3


def test_confusion_map_rows_are_styles_asked_for():
    sweet, old, _ = confusion_map(THREE)["rows"]

    assert [(cell["heard"], cell["count"]) for cell in sweet["cells"]] == [("Sweet", 9), ("Old", 1), ("Wise", 0)]
    assert [cell["share"] for cell in sweet["cells"]] == [0.9, 0.1, 0.0]
    assert [cell["share"] for cell in old["cells"]] == [0.75, 0.25, 0.0]
    assert [cell["right"] for cell in old["cells"]] == [False, True, False]
    assert [cell["strength"] for cell in old["cells"]] == [0.87, 0.5, 0.0]  # square roots of the shares


def test_confusion_map_style_without_captions_has_no_shares():
    wise = confusion_map(THREE)["rows"][2]

    assert wise["n"] == 0
    assert [(cell["share"], cell["strength"]) for cell in wise["cells"]] == [(None, 0.0)] * 3


@pytest.mark.parametrize("confusion", [{}, {"styles": [], "counts": []}, {"styles": ["Sweet"], "counts": [[4]]}])
def test_confusion_map_fewer_than_two_styles_is_nothing(confusion):
    assert confusion_map(confusion) is None


def test_mistakes_most_captions_then_larger_share_come_first():
    confusion = {"styles": ["a", "b", "c"], "counts": [[5, 2, 0], [1, 0, 2], [3, 0, 7]]}

    # a as b and b as c are two captions each, but b has three captions in all and a seven.
    assert mistakes(confusion) == [
        Mistake("c", "a", 3, 10),
        Mistake("b", "c", 2, 3),
        Mistake("a", "b", 2, 7),
        Mistake("b", "a", 1, 3),
    ]


def square(size: int) -> dict:
    """Every style is heard as itself three times and as the next one once."""
    counts = [[3 * (x == y) + (x == (y + 1) % size) for x in range(size)] for y in range(size)]
    return {"styles": [f"style {i}" for i in range(size)], "counts": counts}


@pytest.mark.parametrize(
    ("size", "named", "counted"),
    [
        (2, True, True),
        (MAX_COUNTED_STYLES, True, True),
        (MAX_COUNTED_STYLES + 1, True, False),
        (MAX_NAMED_STYLES, True, False),
        (MAX_NAMED_STYLES + 1, False, False),
        (215, False, False),
    ],
)
def test_confusion_map_names_and_counts_only_where_there_is_room(size, named, counted):
    drawn = confusion_map(square(size))

    assert len(drawn["rows"]) == (size if named else 0)
    assert bool(drawn["layers"]) == (not named)
    assert drawn["counted"] == counted


def test_confusion_map_overview_has_a_square_for_each_cell_that_is_not_empty():
    drawn = confusion_map(square(30))

    wrong, right = drawn["layers"]  # one shade each: a quarter and three quarters of every row
    squares = {
        layer["right"]: {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", layer["path"])}
        for layer in (wrong, right)
    }
    assert squares[True] == {(i, i) for i in range(30)}
    assert squares[False] == {((i + 1) % 30, i) for i in range(30)}  # column heard, row asked for
    assert wrong["opacity"] == 0.5  # the square root of 1/4
    assert right["opacity"] == 0.875  # the square root of 3/4 is .866, the next of eight shades .875
    assert len(drawn["mistakes"]) == MAX_MISTAKES


def test_line_chart_band_goes_along_the_upper_edge_and_back_along_the_lower():
    chart = line_chart({"mean": [(10, 3.0), (0, 2.0)]}, [(0, 1.0), (10, 1.0), (20, 9.0)])

    # Values and band reach from 1 to 4; the deviation of a step without a value is not drawn.
    assert chart["y_ticks"][0] == (100, "1")
    assert chart["y_ticks"][-1] == (0, "4")
    assert chart["curves"][0]["band"] == [(0, 33.333), (100, 0), (100, 66.667), (0, 100)]


@pytest.mark.parametrize("deviation", [[], [(1, 0.0), (2, 0.0)], [(1, float("nan"))], [(7, 1.0)]])
def test_line_chart_without_a_deviation_has_no_band(deviation):
    assert line_chart({"mean": [(1, 3.0), (2, 2.0)]}, deviation)["curves"][0]["band"] == []


def test_line_chart_axis_reaches_what_it_has_to_cover():
    chart = line_chart({"share": [(1, 0.3), (2, 0.4)]}, covers=(0.0, 1.0))

    assert [label for _, label in chart["y_ticks"]] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]


def test_line_chart_curve_keeps_its_colour_where_the_other_has_no_points():
    assert [curve["colour"] for curve in line_chart({"train": [], "val": [(1, 2.0)]})["curves"]] == ["val"]


def test_training_charts_show_what_was_logged_and_nothing_else():
    numbers = {
        name: [(1, 0.25), (2, 0.5)]
        for name in ("loss", "grad_norm", "unended_share", "reward", "reward_std", "reward/style", "reward_std/style")
    }
    charts = {chart["title"]: chart for chart in training_charts(numbers)}

    assert list(charts) == ["Reward", "Reward term style", "Shares"]
    assert [curve["name"] for curve in charts["Shares"]["curves"]] == ["captions without an end"]
    assert [bool(charts[title]["curves"][0]["band"]) for title in charts] == [True, True, False]
    assert training_charts({}) == []


def test_training_charts_draw_every_monitored_number():
    numbers = ["cross_entropy", "masked_lm", "scst", "kl", "unlikelihood_repetition", "unlikelihood_leakage"]
    numbers += ["reward", "reward_std", "flat_share", "caption_length", "unended_share", "distinct_2"]
    numbers += ["preference", "margin", "margin_std", "pair_accuracy", "chosen_length", "rejected_length"]
    numbers += ["chosen_log_prob", "rejected_log_prob"]
    numbers += ["reward/cider_d", "reward_std/cider_d", "a_loss_of_tomorrow"]
    charts = training_charts({name: [(1, float(place)), (2, 0.0)] for place, name in enumerate(numbers, start=1)})

    drawn = {curve["points"][0]["value"] for chart in charts for curve in chart["curves"]}
    # Deviations are bands. The self-critical loss has no chart: it hovers around zero whatever is learnt.
    assert {numbers[int(value) - 1] for value in drawn} == set(numbers) - {
        "reward_std",
        "reward_std/cider_d",
        "margin_std",
        "scst",
    }


def test_training_charts_number_that_no_chart_knows_gets_one_of_its_own():
    points = {"reward": [(1, 1.0)], "contrast": [(1, 2.0), (2, 1.0)], "other": [(1, 0.0)], "grad_norm": [(1, 1.0)]}
    charts = training_charts(points, {"contrast": "Contrast of styles"})
    assert [chart["title"] for chart in charts] == ["Reward", "Contrast of styles", "other"]


def test_training_charts_repeat_no_cross_entropy_that_is_the_whole_loss():
    numbers = {"loss": [(1, 2.0)], "grad_norm": [(1, 1.0)], "cross_entropy": [(1, 2.0)]}

    assert training_charts(numbers) == []
    (chart,) = training_charts(numbers | {"masked_lm": [(1, 3.0)]})
    assert [curve["name"] for curve in chart["curves"]] == ["cross-entropy", "masked LM"]
