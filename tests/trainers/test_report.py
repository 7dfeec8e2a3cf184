from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from metrics.results import evaluate_captions
from trainers.report import MAX_CURVE_POINTS, ReportRow, _loss_chart, _ticks, write_report

VOID = {"meta", "img", "line", "polyline"}


class Page(HTMLParser):
    """A parsed report: its text, its start tags, and whether every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.text, self.tags, self.open, self.misplaced = html, "", [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.misplaced.append(tag)

    def handle_data(self, data):
        self.text += " " + data

    def attributes(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]

    def of_class(self, name: str) -> int:
        return sum(name in (attrs.get("class") or "").split() for _, attrs in self.tags)


@pytest.fixture
def results() -> dict:
    references = {
        f"{image}#{style}": [f"a {image} in {style}"] for image in ("sun", "sea") for style in ("Sweet", "Old")
    }
    return evaluate_captions(
        references,
        {example_id: texts[0] for example_id, texts in references.items()},
        {example_id: example_id.split("#")[1] for example_id in references},
        train_captions={"Sweet": ["a sun in sweet"], "Old": ["something else"]},
        provenance={"split": "toy/hash", "decode": {"num_beams": 5}},
    )


@pytest.fixture
def pictures(tmp_path) -> dict[str, Path]:
    Image.new("RGB", (600, 300), "red").save(tmp_path / "sun.jpg")
    Image.new("RGBA", (40, 64), "blue").save(tmp_path / "sea.png")
    return {"sun": tmp_path / "sun.jpg", "sea": tmp_path / "sea.png"}


def report(folder: Path, results: dict, rows: list[ReportRow], **other) -> Page:
    other = {"title": "Toy", "losses": {"train": [], "val": []}, "config": {}, "settings": {}} | other
    write_report(folder / "report.html", results=results, rows=rows, **other)
    return Page((folder / "report.html").read_text(encoding="utf-8"))


def test_write_report_puts_the_styles_of_one_picture_together(tmp_path, results, pictures):
    rows = [
        ReportRow("sun#Sweet", pictures["sun"], "Sweet", "sweet sun", ["dear sun"]),
        ReportRow("sea#Sweet", pictures["sea"], "Sweet", "", []),
        ReportRow("sun#Old", pictures["sun"], "Old", "old sun", ["ye sun", "thy sun"]),
    ]

    page = report(tmp_path, results, rows)

    assert [attrs["alt"] for attrs in page.attributes("img")] == ["sun.jpg", "sea.png"]
    shown = " ".join(page.text.split())
    assert "sun.jpg Sweet sweet sun dear sun Old old sun ye sun thy sun sea.png Sweet an empty caption" in shown
    assert page.open == []
    assert page.misplaced == []


def test_write_report_pictures_are_small_jpegs_inside_the_file(tmp_path, results, pictures):
    rows = [ReportRow(name, path, "Sweet", "x", []) for name, path in pictures.items()]

    page = report(tmp_path, results, rows)

    sizes = []
    for attrs in page.attributes("img"):
        head, data = attrs["src"].split(",")
        assert head == "data:image/jpeg;base64"
        sizes.append(Image.open(io.BytesIO(base64.b64decode(data))).size)
    assert sizes == [(240, 120), (40, 64)]


def test_write_report_needs_no_network(tmp_path, results, pictures):
    page = report(tmp_path, results, [ReportRow("sun#Sweet", pictures["sun"], "Sweet", "x", [])])

    assert "default-src 'none'" in page.html
    assert not re.search(r"https?:|@import|url\(", page.html)
    assert {tag for tag, _ in page.tags} & {"script", "link", "iframe"} == set()


def test_write_report_shows_markup_in_captions_as_text(tmp_path, results, pictures):
    bad = '<script>alert("x")</script> & co'
    rows = [ReportRow("sun#Sweet", pictures["sun"], "<i>Sweet", bad, [bad])]

    page = report(tmp_path, results, rows, title=bad, config={"<u>": bad})

    assert page.attributes("script") == []
    assert page.text.count(bad) == 5  # <title>, headline, caption, reference, configuration


def test_write_report_unreadable_picture_leaves_its_captions_and_a_warning(tmp_path, results, pictures, caplog):
    pictures["sun"].write_bytes(pictures["sun"].read_bytes()[:700])
    rows = [
        ReportRow("sun#Sweet", pictures["sun"], "Sweet", "sweet sun", []),
        ReportRow("gone#Sweet", tmp_path / "gone.jpg", "Sweet", "sweet nothing", []),
    ]

    page = report(tmp_path, results, rows)

    assert page.of_class("unread") == 2
    assert "sweet sun" in page.text
    assert "sweet nothing" in page.text
    assert [record.message.split(":")[0] for record in caplog.records] == [str(row.image_path) for row in rows]


def test_write_report_shows_scores_with_the_constant_beside(tmp_path, results):
    page = report(tmp_path, results, [])

    shown = " ".join(page.text.split())
    sweet, constant = results["per_style"]["Sweet"], results["baseline_constant"]["Sweet"]
    gain = sweet["CIDEr"] - constant["CIDEr"]
    assert f"Sweet 2 {sweet['CIDEr']:.3f} {constant['CIDEr']:.3f} {gain:+.3f} {sweet['Bleu_1']:.3f}" in shown
    assert "a sun in sweet" in shown
    assert f"CIDEr {results['overall']['CIDEr']:.3f} constant caption" in shown
    assert "METEOR, SPICE: needs Java" in shown


def test_write_report_caption_no_better_than_the_constant_is_marked(tmp_path, results):
    results["baseline_constant"]["Old"]["CIDEr"] = results["per_style"]["Old"]["CIDEr"] + 0.5

    page = report(tmp_path, results, [])

    assert "-0.500" in page.text
    assert page.of_class("loss") == 1


def test_write_report_without_baselines_and_losses_says_so(tmp_path, results):
    del results["baseline_constant"]

    page = report(tmp_path, results, [])

    assert "Constant" not in page.text
    assert "No losses were recorded" in page.text
    assert page.attributes("svg") == []


def test_write_report_style_without_constant_gets_a_dash(tmp_path, results):
    del results["baseline_constant"]["Old"]
    results["baseline_constant"]["overall"] = {"CIDEr": None}

    page = report(tmp_path, results, [])

    assert f"Old 2 {results['per_style']['Old']['CIDEr']:.3f} – –" in " ".join(page.text.split())


def test_write_report_style_that_could_not_be_scored_is_named_with_its_reason(tmp_path, results):
    style = next(iter(results["per_style"]))
    results["per_style"][style] = dict.fromkeys(results["per_style"][style]) | {"n": 1}
    results["unavailable"][f"per_style/{style}"] = "no reference with a word"
    report(tmp_path, results, [])
    assert "no reference with a word" in (tmp_path / "report.html").read_text()


def test_write_report_lists_configuration_and_provenance_by_dotted_key(tmp_path, results):
    config = {"train": {"lr": 5e-5, "freeze": []}, "data": {"images": Path("photos"), "styles": ["Sweet"]}}

    page = report(tmp_path, results, [], config=config, settings={"num_beams": 5})

    shown = " ".join(page.text.split())
    assert "Configuration train.lr 5e-05 train.freeze [] data.images photos data.styles" in shown
    assert "Provenance split toy/hash decode.num_beams 5 metrics.pycocoevalcap" in shown
    assert len(page.attributes("details")) == 2
    assert all("open" not in attrs for attrs in page.attributes("details"))


def test_write_report_draws_both_curves_inside_the_plot(tmp_path, results):
    losses = {"train": [(step, 5 - step / 100) for step in range(1, 301)], "val": [(100, 4.2), (200, 3.4), (300, 2.9)]}

    page = report(tmp_path, results, [], losses=losses)

    curves = [attrs["points"].split() for attrs in page.attributes("polyline")]
    assert [len(points) for points in curves] == [150, 3]
    numbers = [float(number) for points in curves for point in points for number in point.split(",")]
    assert min(numbers) >= 0
    assert max(numbers) <= 100
    assert len(page.attributes("circle")) == 3
    assert "train, last 2.000" in " ".join(page.text.split())


def test_loss_chart_places_points_by_hand():
    chart = _loss_chart({"train": [(0, 3.0), (50, 2.0), (100, 1.0)], "val": [(200, 2.0)]})

    # Steps 0 to 200 and losses 1 to 3 fill the plot; y runs downwards.
    assert [point["at"] for point in chart["curves"][0]["points"]] == [(0, 0), (25, 50), (50, 100)]
    assert chart["curves"][1]["points"][0]["at"] == (100, 50)
    assert chart["y_ticks"] == [(100, "1"), (75, "1.5"), (50, "2"), (25, "2.5"), (0, "3")]
    assert chart["x_ticks"] == [(0, "0"), (25, "50"), (50, "100"), (75, "150"), (100, "200")]


def test_loss_chart_long_curve_is_thinned_to_means():
    chart = _loss_chart({"train": [(step, float(step % 2)) for step in range(1000)]})

    points = chart["curves"][0]["points"]
    assert len(points) == MAX_CURVE_POINTS
    assert points[0]["step"] == pytest.approx(2)  # mean of 0..4
    assert points[0]["value"] == pytest.approx(2 / 5)


def test_loss_chart_values_that_are_not_finite_are_left_out_and_counted():
    chart = _loss_chart({"train": [(1, 2.0), (2, float("nan")), (3, float("inf"))], "val": [(3, float("nan"))]})

    assert [curve["name"] for curve in chart["curves"]] == ["train"]
    assert chart["not_finite"] == 3


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
    assert _ticks(low, high) == pytest.approx(expected)
