from __future__ import annotations

from typing import Any

import pytest

from reports.sweep.measures import best_row, common_measure, comparison_measure, metric_measure
from reports.sweep.plots import SHADES, forest_plot, parallel_plot, rank_plot, scatter_plots


def configuration(point: int, settings: dict[str, Any], state: str, **fields: Any) -> dict[str, Any]:
    trials = [{"name": f"{point:03d}-seed7", "seed": 7, "run": "", "metric": fields.get("metric"), "failure": None}]
    nothing = {"metric": None, "interval": None, "interval_over": None, "at_comparisons": [], "trials": trials}
    return {"rank": point, "point": point, "settings": settings, "state": state, "epochs": 1.0} | nothing | fields


def board(*configurations: dict[str, Any], comparisons: tuple[float, ...] = (), select: str = "loss") -> dict[str, Any]:
    return {
        "metric": "overall.CIDEr",
        "level": 0.95,
        "select": select,
        "split": "val",
        "epochs": 2,
        "axes": list(configurations[0]["settings"]),
        "seeds": [7],
        "comparisons": list(comparisons),
        "configurations": list(configurations),
    }


@pytest.fixture
def halved() -> dict[str, Any]:
    """Two were trained, one was stopped, one failed and one is open."""
    return board(
        configuration(1, {"lr": 1.0}, "trained", metric=0.6, interval=[0.5, 0.7], at_comparisons=[-3.0, -2.0]),
        configuration(2, {"lr": 5.0}, "trained", metric=0.5, interval=[0.4, 0.6], at_comparisons=[-3.5, -2.5]),
        configuration(3, {"lr": 3.0}, "stopped", at_comparisons=[-4.0, None]),
        configuration(4, {"lr": 2.0}, "open", at_comparisons=[None, None]),
        configuration(5, {"lr": 4.0}, "failed", at_comparisons=[-5.0, None]),
        comparisons=(0.5, 1.0),
    )


def test_comparison_measure_likelihood_is_shown_positive_and_lower_is_better(halved):
    measure = comparison_measure(halved, 0)

    assert measure.values == {1: 3.0, 2: 3.5, 3: 4.0, 5: 5.0}
    assert (measure.name, measure.better) == ("validation NLL after 0.5 epochs", "lower is better")
    assert comparison_measure(halved, 1).values == {1: 2.0, 2: 2.5}


def test_comparison_measure_cider_stays_as_it_is():
    one = configuration(1, {"lr": 1.0}, "stopped", at_comparisons=[0.4])
    measure = common_measure(board(one, comparisons=(1,), select="CIDEr"))

    assert measure.values == {1: 0.4}
    assert (measure.name, measure.better) == ("validation CIDEr after 1 epoch", "higher is better")


def test_common_measure_without_halving_is_the_metric_with_its_intervals():
    one = configuration(1, {"lr": 1.0}, "trained", metric=0.6, interval=[0.5, 0.7])
    two = configuration(2, {"lr": 2.0}, "open")

    measure = common_measure(board(one, two))
    assert (measure.name, measure.values, measure.intervals) == ("CIDEr", {1: 0.6}, {1: (0.5, 0.7)})


def test_measures_numbers_that_are_not_finite_are_left_out():
    one = configuration(1, {"lr": 1.0}, "trained", metric=float("nan"), at_comparisons=[float("-inf")])
    two = configuration(2, {"lr": 1.0}, "trained", metric=0.5, interval=[0.4, float("nan")], at_comparisons=[-1.0])
    found = board(one, two, comparisons=(1,))

    assert metric_measure(found).values == {2: 0.5}
    assert metric_measure(found).intervals == {}
    assert comparison_measure(found, 0).values == {2: 1.0}
    assert best_row(found)["point"] == 2


def test_parallel_plot_places_by_hand(halved):
    plot = parallel_plot(halved)

    names = [(axis["name"], axis["x"], axis["result"]) for axis in plot["axes"]]
    sixth = pytest.approx(100 / 6, abs=0.01)
    assert names == [
        ("lr", sixth, False),
        ("validation NLL after 0.5 epochs", 50, True),
        ("CIDEr", pytest.approx(500 / 6, abs=0.01), True),
    ]
    lines = {line["point"]: line["segments"] for line in plot["lines"]}
    # lr from 1 to 5 with a twentieth free: 1 is 0.2 of 4.4 from the foot. NLL from 3 to 5, CIDEr from 0.5 to 0.6.
    assert lines[1] == [
        [(sixth, pytest.approx(100 - 20 / 4.4, abs=0.01)), (50, 0), (pytest.approx(83.33, abs=0.01), 0)]
    ]
    assert lines[2] == [[(sixth, pytest.approx(20 / 4.4, abs=0.01)), (50, 25), (pytest.approx(83.33, abs=0.01), 100)]]
    assert lines[3] == [[(sixth, 50), (50, 50)]]  # no metric: the line ends
    assert lines[4] == [[(sixth, pytest.approx(100 - 120 / 4.4, abs=0.01))]]


def test_parallel_plot_better_end_of_a_result_is_the_upper_one(halved):
    _, nll, cider = parallel_plot(halved)["axes"]

    assert [(y, label) for y, label in nll["ticks"]] == [
        (0, "3.0"),
        (25, "3.5"),
        (50, "4.0"),
        (75, "4.5"),
        (100, "5.0"),
    ]
    assert [label for _, label in sorted(cider["ticks"])] == ["0.60", "0.58", "0.56", "0.54", "0.52", "0.50"]


def test_parallel_plot_best_is_drawn_last_and_failed_first(halved):
    lines = parallel_plot(halved)["lines"]

    assert [(line["point"], line["look"]) for line in lines] == [
        *((5, "failed"), (4, "open"), (3, "stopped"), (2, "trained"), (1, "best")),
    ]
    # Only three have a place in the order: the failed one is out, the open one has no number.
    assert [line["shade"] for line in lines] == [None, None, SHADES - 1, (SHADES - 1) // 2, 0]


def test_parallel_plot_missing_number_breaks_the_line():
    rows = [
        configuration(1, {"a": 1, "b": 2}, "trained", metric=0.5, at_comparisons=[None]),
        configuration(2, {"a": 2, "b": 1}, "trained", metric=0.4, at_comparisons=[-1.0]),
    ]
    first = parallel_plot(board(*rows, comparisons=(1,)))["lines"][-1]

    assert [len(segment) for segment in first["segments"]] == [2, 1]


def test_parallel_plot_one_axis_without_results_is_one_upright():
    plot = parallel_plot(board(*(configuration(i, {"lr": i}, "open", at_comparisons=[None]) for i in (1, 2))))

    assert [axis["x"] for axis in plot["axes"]] == [50]
    assert [line["segments"][0][0][0] for line in plot["lines"]] == [50, 50]


def test_parallel_plot_categories_stand_in_the_order_of_the_sweep_file():
    rows = [configuration(point, {"inject": name}, "open") for point, name in ((3, "code"), (1, "words"), (2, "token"))]
    (axis,) = parallel_plot(board(*rows))["axes"]

    assert [label for _, label in sorted(axis["ticks"], reverse=True)] == ["words", "token", "code"]  # from the foot


def test_scatter_plots_show_all_that_reached_the_first_comparison(halved):
    (plot,) = scatter_plots(halved, common_measure(halved))

    assert {point["point"]: point["y"] for point in plot["points"]} == {
        1: 100,
        2: 75,
        3: 50,
        5: 0,
    }  # 3 nats at the foot
    assert [point["look"] for point in plot["points"]] == ["failed", "stopped", "trained", "best"]
    assert {point["low"] for point in plot["points"]} == {None}
    assert plot["y_ticks"][0] == (100, "3.0")


def test_scatter_plots_axis_covers_intervals_and_configurations_without_a_number():
    rows = [
        configuration(1, {"lr": 1.0}, "trained", metric=0.6, interval=[0.5, 0.7]),
        configuration(2, {"lr": 2.0}, "failed"),
    ]
    found = board(*rows)
    (plot,) = scatter_plots(found, common_measure(found))

    assert [(point["low"], point["y"], point["high"]) for point in plot["points"]] == [(100, 50, 0)]  # 0.5 to 0.7
    assert [tick.label for tick in plot["x_ticks"]] == ["1", "2"]


def test_scatter_plots_without_numbers_are_none():
    found = board(configuration(1, {"lr": 1.0}, "open", at_comparisons=[None]), comparisons=(1,))

    assert scatter_plots(found, common_measure(found)) == []


@pytest.mark.parametrize(
    ("names", "tilted"),
    [(["words", "code", "token"], False), (["a" * 30, "b" * 30], False), ([f"a name {i}" for i in range(9)], True)],
)
def test_scatter_plots_labels_without_room_side_by_side_are_tilted(names, tilted):
    rows = [configuration(i, {"name": name}, "trained", metric=0.1 * i) for i, name in enumerate(names)]
    found = board(*rows)

    assert scatter_plots(found, common_measure(found))[0]["tilted"] is tilted


def test_forest_plot_places_by_hand(halved):
    plot = forest_plot(halved)

    assert [tick.label for tick in plot["ticks"]] == ["0.4", "0.5", "0.6", "0.7"]
    places = [(row["row"]["point"], row["low"], row["value"], row["high"]) for row in plot["rows"]]
    assert places == [
        (1, *(pytest.approx(value, abs=0.01) for value in (33.33, 66.67, 100))),
        (2, *(pytest.approx(value, abs=0.01) for value in (0, 33.33, 66.67))),
    ]
    assert plot["band"] == (places[0][1], places[0][3])
    assert plot["rows"][0]["seeds"] == []


def test_forest_plot_several_seeds_are_shown_and_have_room():
    trials = [{"metric": 0.2}, {"metric": 0.6}]
    plot = forest_plot(board(configuration(1, {"lr": 1}, "trained", metric=0.4, interval=[0.3, 0.5], trials=trials)))

    assert plot["rows"][0]["seeds"] == [0, 100]
    assert (plot["rows"][0]["low"], plot["rows"][0]["high"]) == (25, 75)


def test_forest_plot_without_intervals_has_no_band():
    plot = forest_plot(board(configuration(1, {"lr": 1}, "trained", metric=0.4)))

    assert plot["band"] is None
    assert (plot["rows"][0]["low"], plot["rows"][0]["value"]) == (None, 50)


@pytest.mark.parametrize("state", ["open", "failed", "stopped"])
def test_forest_plot_nothing_trained_is_none(state):
    assert forest_plot(board(configuration(1, {"lr": 1}, state))) is None


def test_rank_plot_goes_down_from_the_best():
    plot = rank_plot(board(*(configuration(i, {"lr": i}, "trained", metric=1 - i / 100) for i in range(1, 101))))

    in_order = sorted(plot["points"], key=lambda point: point["x"])
    assert [point["point"] for point in in_order] == list(range(1, 101))
    assert [point["y"] for point in in_order] == sorted(point["y"] for point in in_order)
    assert plot["points"][-1]["look"] == "best"
