from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from metrics.table import METRICS, Metric
from reports.sweep.measures import higher_is_better
from reports.sweep.page import write_page

VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """A parsed page: its text, its start tags, its tooltips, its table, and whether elements are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.text, self.tags, self.open, self.misplaced = html, "", [], [], []
        self.tooltips: list[str] = []
        self.table: list[list[str]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.table.append([])
        elif tag in ("td", "th"):
            self.table[-1].append("")
        elif tag == "title":
            self.tooltips.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.misplaced.append(tag)

    def handle_data(self, data: str) -> None:
        if "title" in self.open:
            self.tooltips[-1] += data
        elif "style" not in self.open:
            self.text += data
            if {"td", "th"} & set(self.open):
                self.table[-1][-1] = f"{self.table[-1][-1]} {data.strip()}".strip()

    @property
    def shown(self) -> str:
        return " ".join(self.text.split())

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def of_class(self, *names: str) -> int:
        return sum({*names} <= {*(attributes.get("class") or "").split()} for _, attributes in self.tags)

    def lines(self) -> int:
        """Configurations in the parallel coordinates; the legend's samples have no tooltip."""
        return self.of_class("line") - self.of_class("sample") + self.of_class("sample", "round")


def configuration(point: int, settings: dict[str, Any], state: str = "open", **fields: Any) -> dict[str, Any]:
    metrics = fields.pop("metrics", [fields.get("metric")])
    failure = fields.pop("failure", None)
    trials = [
        {"name": f"{point:03d}-seed{seed}", "seed": seed, "run": f"/runs/{point:03d}-seed{seed}", "metric": metric}
        | {"failure": failure if seed == 0 else None}
        for seed, metric in enumerate(metrics)
    ]
    nothing = {"metric": None, "interval": None, "interval_over": None, "validation": None, "at_comparisons": []}
    return {"point": point, "settings": settings, "state": state, "epochs": 1.0, "trials": trials} | nothing | fields


def board(rows: list[dict[str, Any]], comparisons: tuple[float, ...] = (), seeds: tuple[int, ...] = (0,)) -> dict:
    return {
        "metric": "overall.CIDEr",
        "level": 0.95,
        "select": "loss",
        "split": "val",
        "epochs": 2,
        "axes": list(rows[0]["settings"]),
        "seeds": list(seeds),
        "comparisons": list(comparisons),
        "configurations": [{"rank": rank} | row for rank, row in enumerate(rows, start=1)],
    }


@pytest.fixture
def render(tmp_path: Path) -> Callable[[dict], Page]:
    """The page of a board; every page has to be well-formed and load nothing."""

    def write(made: dict) -> Page:
        write_page(tmp_path / "leaderboard.html", made, title="lr & <warmup>")
        page = Page((tmp_path / "leaderboard.html").read_text(encoding="utf-8"))
        assert (page.misplaced, page.open) == ([], [])
        assert not {"script", "img", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
        assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]
        return page

    return write


@pytest.fixture
def halved() -> dict[str, Any]:
    """Two of six were trained, two stopped, one failed and one is open."""
    lrs = (1e-3, 5e-4, 1e-4, 1e-5, 2e-3, 3e-3)
    settings = [
        {"train.lr": lr, "train.lr_end": end} for lr, end in zip(lrs, (0.0, 1e-7, 1e-5, 0.0, 0.0, 0.0), strict=True)
    ]
    best = {"metric": 0.6123, "interval": [0.57, 0.65], "interval_over": "images"}
    second = {"metric": 0.5, "interval": [0.46, 0.54], "interval_over": "images"}
    return board(
        [
            configuration(2, settings[0], "trained", epochs=2.0, at_comparisons=[-3.1, -2.8], **best),
            configuration(1, settings[1], "trained", epochs=2.0, at_comparisons=[-3.2, -2.9], **second),
            configuration(3, settings[2], "stopped", epochs=1.0, at_comparisons=[-3.3, -3.0]),
            configuration(4, settings[3], "stopped", epochs=0.5, at_comparisons=[-4.0, None]),
            configuration(5, settings[4], "open", epochs=0.25, at_comparisons=[None, None]),
            configuration(
                6, settings[5], "failed", epochs=0.1, at_comparisons=[None, None], failure="error: a < b\nbut c"
            ),
        ],
        comparisons=(0.5, 1.0),
    )


def test_write_page_policy_forbids_to_load_anything(render, halved):
    (policy,) = [
        tag["content"] for tag in render(halved).attributes("meta") if "content" in tag and "http-equiv" in tag
    ]

    assert policy == "default-src 'none'; style-src 'unsafe-inline'"


def test_write_page_headline_says_what_came_of_it(render, halved):
    page = render(halved)

    assert "lr & <warmup>" in page.shown
    assert "6 configurations, 1 seed each, at most 2 epochs" in page.shown
    assert "successive halving compares them after 0.5 and 1 epoch; ranked by CIDEr on the val split." in page.shown
    assert "Best CIDEr 0.612 95%: 0.570–0.650 on the val split" in page.shown
    assert "The best configuration train.lr 0.001 train.lr_end 0 " in page.shown
    assert "Configurations 6 2 trained 2 stopped 1 open 1 failed" in page.shown


def test_write_page_says_of_its_metric_which_end_is_the_good_one(render, halved, monkeypatch):
    assert "CIDEr on the val split, higher is better." in render(halved).shown
    monkeypatch.setitem(METRICS, "toy_error", Metric("Toy error", "nowhere:NOTHING", higher_is_better=False))
    page = render(halved | {"metric": "overall.toy_error"})
    assert "toy_error on the val split, lower is better." in page.shown
    assert "higher is better" not in page.shown
    assert higher_is_better("style.toy_error")  # the table is of the numbers in overall


def test_write_page_every_configuration_is_a_line_with_its_numbers(render, halved):
    page = render(halved)

    assert page.lines() == 6
    assert "rank 1 of 6, trained (2 epochs)\ntrain.lr 0.001\ntrain.lr_end 0\n" in page.html
    tips = [tip for tip in page.tooltips if tip.startswith("rank 4 of 6, stopped (0.5 epochs)")]
    assert {tip.splitlines()[-1] for tip in tips} == {"validation NLL after 0.5 epochs 4.000"}
    assert len(tips) == 1 + 2  # a line, and a point for each axis


def test_write_page_plots_of_single_axes_mark_who_went_on(render, halved):
    page = render(halved)

    assert page.of_class("point", "best") == 1 + 2  # in the legend and for each axis
    assert page.of_class("point", "trained") == 1 + 2
    assert page.of_class("point", "stopped") == 1 + 2 * 2
    assert page.of_class("point", "open") == 0
    assert "2 without such a number are left out." in page.shown
    assert page.shown.count("validation NLL after 0.5 epochs, lower is better") == 2


def test_write_page_readings_name_the_end_that_did_better(render):
    rows = [configuration(i, {"train.lr": 10.0**-i}, at_comparisons=[-3.0 - i]) for i in range(1, 7)]

    # The highest learning rate has the lowest NLL.
    expected = "rank correlation −1.00 (n = 6, p = 0.0028): higher values did better"
    assert expected in render(board(rows, comparisons=(1,))).shown


def test_write_page_table_holds_every_number(render, halved):
    head, first, *rest = render(halved).table

    assert head == [
        *("Rank", "State", "train. lr", "train. lr_ end", "CIDEr", "Its interval"),
        *("validation NLL after 0.5 epochs", "validation NLL after 1 epoch", "Epochs", "Run folder"),
    ]
    assert first == ["1", "trained", "0.001", "0", "0.612", "0.570–0.650", "3.100", "2.800", "2", "/runs/002-seed0"]
    assert rest[2] == ["4", "stopped", "1e-5", "0", "–", "–", "4.000", "–", "0.5", "/runs/004-seed0"]
    assert [row[0] for row in rest[:5]] == ["2", "3", "4", "5", "6"]


def test_write_page_failures_are_told_in_full(render, halved):
    message = "no number " * 100 + "<b>&"
    halved["configurations"][5]["trials"][0]["failure"] = message
    page = render(halved)

    assert page.table[-1] == [f"006-seed0 {message}"]
    assert page.of_class("message") == 1


def test_write_page_foot_warns_of_the_choice_and_names_the_files(render, halved):
    shown = render(halved).shown

    assert "chosen by CIDEr on the val split, and that is the number shown" in shown
    assert "Intervals over images (95%, bootstrap)" in shown
    assert "Student" not in shown
    assert all(name in shown for name in ("leaderboard.csv", "leaderboard.json", "best.json"))


def test_write_page_several_seeds_have_their_own_folders_and_intervals(render):
    one = {"metric": 0.5, "metrics": [0.4, 0.5, 0.6], "interval": [0.25, 0.75], "interval_over": "seeds"}
    rows = [
        configuration(1, {"train.lr": 1e-3}, "trained", **one),
        configuration(2, {"train.lr": 1e-4}, metrics=[0.4, None, None]),
    ]
    page = render(board(rows, seeds=(0, 1, 2)))

    assert "2 configurations, 3 seeds each, at most 2 epochs, no successive halving" in page.shown
    assert "95% intervals, over seeds (Student)" in page.shown
    assert page.of_class("seed") == 3
    assert page.table[1][-1].split() == [
        *("/runs/001-seed0", "0.400", "/runs/001-seed1", "0.500", "/runs/001-seed2", "0.600"),
    ]
    assert page.table[2][-1].split()[1::2] == ["0.400", "–", "–"]


@pytest.mark.parametrize("state", ["open", "failed"])
@pytest.mark.parametrize("comparisons", [(), (0.5,)])
@pytest.mark.parametrize("count", [1, 3])
def test_write_page_nothing_trained_says_so(render, state, comparisons, count):
    rows = [
        configuration(i, {"train.lr": i / 100}, state, at_comparisons=[None for _ in comparisons]) for i in range(count)
    ]
    page = render(board(rows, comparisons))

    assert "Best CIDEr – no configuration has it yet" in page.shown
    assert "The best configuration train.lr" not in page.shown
    assert "There are no results to compare yet." in page.shown
    assert f"No configuration has a {'validation NLL after 0.5 epochs' if comparisons else 'CIDEr'} yet." in page.shown
    assert page.lines() == count


def test_write_page_trained_without_the_metric_has_no_place_in_the_forest(render):
    rows = [configuration(1, {"train.lr": 0.1}, "trained")]
    page = render(board(rows))

    assert "No configuration is trained to the end and has a CIDEr yet." in page.shown
    assert page.table[1][:4] == ["1", "trained", "0.1", "–"]


def test_write_page_many_configurations_are_drawn_without_names(render):
    rows = [
        configuration(
            i, {"train.lr": 0.1 / i}, "trained", metric=1 / i, interval=[0.9 / i, 1.1 / i], interval_over="images"
        )
        for i in range(1, 201)
    ]
    page = render(board(rows))

    assert page.lines() == 200
    assert page.of_class("forest-row") == 0
    assert page.of_class("parallel", "many") == 1
    assert len(page.table) == 1 + 200
    few = render(board(rows[:40]))
    assert few.of_class("forest-row") == 40 + 1  # and the scale below
    assert few.of_class("many") == 0


def test_write_page_values_of_any_kind_are_shown_and_escaped(render):
    values = ["<script>alert(1)</script>", None, True, ["a", "<i>"], 3, "a" * 300]
    rows = [
        configuration(
            i, {"group.a_very_" + "long_" * 40 + "key": value, "style.inject": "x"}, "trained", metric=0.1 * i
        )
        for i, value in enumerate(values, start=1)
    ]
    page = render(board(rows))

    assert [row[2] for row in page.table[1:]] == [values[0], "null", "true", '["a","<i>"]', "3", values[5]]
    assert any("group.a_very_" + "long_" * 40 + "key " + values[0] in tip for tip in page.tooltips)
    # A label that is cut has the whole text under the pointer, on the upright axis and on the level one.
    assert page.tooltips.count(values[5]) == 2
    assert "one value only (n = 6)" in page.shown


def test_write_page_axes_that_end_alike_keep_their_whole_names(render):
    rows = [configuration(1, {"masked_lm.weight": 0.1, "scst.weight": 2, "train.lr": 3}, "trained", metric=0.5)]

    assert "masked_lm.weight 0.1, scst.weight 2, lr 3" in render(board(rows)).shown


def test_write_page_runs_below_the_page_are_linked_to_their_reports(tmp_path, render):
    row = configuration(1, {"train.lr": 0.1}, "trained", metric=0.5)
    other = configuration(2, {"train.lr": 0.2}, "open")
    for number, one in enumerate((row, other)):
        run = tmp_path / "trials" / f"{number} a&b"
        one["trials"][0]["run"] = str(run)
        run.mkdir(parents=True)
    (tmp_path / "trials" / "0 a&b" / "report.html").touch()
    page = render(board([row, other]))

    assert page.attributes("a") == [{"href": "trials/0%20a%26b/report.html"}]
    assert [cells[-1] for cells in page.table[1:]] == ["trials/0 a&b", "trials/1 a&b"]
