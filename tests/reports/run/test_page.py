from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from reports.run.page import ReportRow, _thumbnail, write_report
from reports.run.tables import whole_percent

VOID = {"meta", "img", "line", "polyline"}


class Page(HTMLParser):
    """A parsed report: its text, its start tags, its tables, and whether every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.text, self.tags, self.open, self.misplaced = html, "", [], [], []
        self.tables: list[list[list[str]]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.misplaced.append(tag)

    def handle_data(self, data):
        if self.open[-1:] == ["style"]:
            return
        self.text += " " + data
        if {"td", "th"} & set(self.open):
            cells = self.tables[-1][-1]
            cells[-1] = f"{cells[-1]} {data.strip()}".strip()

    def attributes(self, tag: str) -> list[dict]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def shown(self) -> str:
        return " ".join(self.text.split())

    def table(self, corner: str) -> dict[str, list[str]]:
        """By first cell the other cells of the rows under the header row that begins with ``corner``."""
        for rows in self.tables:
            heads = [i for i, row in enumerate(rows) if row[0] == corner]
            if heads:
                return {row[0]: row[1:] for row in rows[heads[0] :]}
        raise AssertionError(f"no table with {corner!r}")

    def of_class(self, name: str) -> int:
        return sum(name in (attrs.get("class") or "").split() for _, attrs in self.tags)


def scores(cider: float, n: int | None = None) -> dict:
    names = ("Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4", "METEOR", "ROUGE_L", "CIDEr", "SPICE")
    values = dict(zip(names, (0.61, 0.42, 0.33, 0.24, 0.25, 0.46, cider, None), strict=True))
    return values if n is None else values | {"n": n}


@pytest.fixture
def old_results() -> dict:
    """Two styles, as they were scored before there were intervals and a judge."""
    return {
        "overall": scores(1.1) | {"METEOR": None},
        "per_style": {style: scores(cider, n) | {"METEOR": None} for style, cider, n in STYLES},
        "style": {},
        "diversity": {"distinct_1": 0.031, "distinct_2": 0.142, "unique_captions": 0.5, "mean_length": 9.04},
        "confidence": {},
        "baseline_constant": {
            "Sweet": {"caption": "a sun in sweet", "CIDEr": 0.5},
            "Old": {"caption": "something else", "CIDEr": 2.0},
            "overall": {"CIDEr": 0.3},
        },
        "unavailable": {"METEOR": "needs Java", "SPICE": "needs Java"},
        "n": 14,
        "provenance": {"split": "toy/hash", "decode": {"num_beams": 5}, "metrics": {"java": None}},
    }


STYLES = (("Sweet", 1.25, 10), ("Old", 0.75, 4))


@pytest.fixture
def results(old_results) -> dict:
    """The same with everything that the metrics can say; SPICE could not be measured."""
    return old_results | {
        "overall": scores(1.1),
        "per_style": {style: scores(cider, n) for style, cider, n in STYLES},
        "style": {
            "accuracy": 10 / 14,
            "judge_accuracy": 0.65,
            "chance": 10 / 14,
            "judge": "a linear model over words",
            "train_captions": 12000,
            "held_out_captions": 56,
            "per_style": {
                "Sweet": {
                    "accuracy": 0.9,
                    "judge_accuracy": 0.705,
                    "perplexity": 8.25,
                    "reference_perplexity": 31.5,
                    "n": 10,
                },
                "Old": {
                    "accuracy": 0.25,
                    "judge_accuracy": None,
                    "perplexity": 1234.5,
                    "reference_perplexity": None,
                    "n": 4,
                },
            },
            "confusion": {"styles": ["Sweet", "Old"], "counts": [[9, 1], [3, 1]]},
        },
        "diversity": old_results["diversity"]
        | {"vocabulary": 1234, "copied_share": 0.042, "mbleu_4": 0.31, "self_cider": 0.74},
        "confidence": {
            "level": 0.95,
            "resamples": 1000,
            "seed": 0,
            "unit": "image",
            "overall": {"CIDEr": [0.9, 1.3], "Bleu_4": [0.2, 0.28]},
            "per_style": {"Sweet": {"CIDEr": [1.1, 1.4], "Bleu_1": [0.51, 0.71]}, "Old": {"CIDEr": [0.5, 1.0]}},
        },
        "unavailable": {"SPICE": "its models are not installed"},
    }


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

    results["overall"]["METEOR"] = None  # the alignments would stand between the captions

    page = report(tmp_path, results, rows)

    assert [attrs["alt"] for attrs in page.attributes("img")] == ["sun.jpg", "sea.png"]
    assert "sun.jpg Sweet sweet sun dear sun Old old sun ye sun thy sun sea.png Sweet an empty caption" in page.shown
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


def test_write_report_shows_scores_with_the_constant_beside(tmp_path, old_results):
    page = report(tmp_path, old_results, [])

    sweet = ["10", "1.250", "0.500", "+0.750", "0.610", "0.420", "0.330", "0.240", "0.460", "a sun in sweet"]
    assert page.table("Style")["Sweet"] == sweet
    assert "CIDEr 1.100 constant caption 0.300 BLEU-4 0.240 scale 0–1" in page.shown
    assert "METEOR, SPICE: needs Java." in page.shown


@pytest.fixture
def with_neighbours(results) -> dict:
    """The captioner beats the nearest pictures' captions in one style and in both together, in the other it may."""
    sweet = {"CIDEr": 0.75, "interval": [0.6, 0.9], "gain": 0.5, "gain_interval": [0.31, 0.69]}
    old = {"CIDEr": 0.7, "interval": [0.5, 0.9], "gain": 0.05, "gain_interval": [-0.1, 0.2]}
    overall = {"CIDEr": 0.78, "interval": [0.6, 0.95], "gain": 0.32, "gain_interval": [0.05, 0.59]}
    return results | {
        "baseline_neighbours": {"overall": overall, "per_style": {"Sweet": sweet, "Old": old}, "nearest": 90}
    }


def test_write_report_shows_scores_with_the_neighbours_beside(tmp_path, with_neighbours):
    page = report(tmp_path, with_neighbours, [])

    heads = ["Constant", "Gain", "Neighbours", "Gain", "BLEU-1"]
    assert page.table("Style")["Style"][3:8] == heads
    assert page.table("Style")["Sweet"][3:8] == ["0.500", "+0.750", "0.750", "+0.500", "0.610"]
    assert page.table("Style")["All"][3:8] == ["0.300", "+0.800", "0.780", "+0.320", "0.610"]
    assert "constant caption 0.300 nearest pictures’ captions 0.780" in page.shown
    assert "upright line neighbours" in page.shown
    assert page.of_class("upright") == 3 + 1  # and the chance of the judge
    assert page.misplaced == []


def test_write_report_gain_whose_interval_holds_zero_is_marked_as_none(tmp_path, with_neighbours):
    page = report(tmp_path, with_neighbours, [])

    losses = [attrs for _, attrs in page.tags if attrs.get("class") == "gain loss"]
    assert [attrs.get("title") for attrs in losses] == [None, "-0.100 to +0.200"]  # both of the style Old


def test_write_report_of_a_captioner_that_beats_the_neighbours_says_nothing_of_it(tmp_path, with_neighbours):
    assert report(tmp_path, with_neighbours, []).of_class("verdict") == 0


def test_write_report_of_a_captioner_that_does_not_beat_the_neighbours_says_so(tmp_path, with_neighbours):
    overall = {"CIDEr": 1.2, "interval": [1.0, 1.4], "gain": -0.1, "gain_interval": [-0.2, -0.02]}
    with_neighbours["baseline_neighbours"]["overall"] = overall

    page = report(tmp_path, with_neighbours, [])

    assert page.of_class("verdict") == 1
    assert "does not beat the captions of the nearest training pictures (CIDEr 1.100 against 1.200, " in page.shown
    assert "it has learnt nothing that looking up would not give." in page.shown


def test_write_report_without_neighbours_gives_the_reason(tmp_path, results):
    results["baseline_neighbours"] = None
    results["unavailable"]["baseline_neighbours"] = "eval.neighbours is 0"

    page = report(tmp_path, results, [])

    assert "Neighbours" not in page.text
    assert "Not measured: baseline_neighbours: eval.neighbours is 0." in page.shown


def test_write_report_style_without_neighbours_gets_dashes(tmp_path, with_neighbours):
    with_neighbours["baseline_neighbours"]["overall"] = {"CIDEr": None}
    with_neighbours["baseline_neighbours"]["per_style"]["Old"] = {"CIDEr": None}

    page = report(tmp_path, with_neighbours, [])

    assert page.table("Style")["Old"][5:7] == ["–", "–"]
    assert page.table("Style")["All"][5:7] == ["–", "–"]
    assert page.table("Style")["Sweet"][5:7] == ["0.750", "+0.500"]


def test_write_report_caption_no_better_than_the_constant_is_marked(tmp_path, results):
    page = report(tmp_path, results, [])

    assert "-1.250" in page.text
    assert page.of_class("loss") == 1


def test_write_report_without_baselines_and_losses_says_so(tmp_path, old_results):
    del old_results["baseline_constant"]

    page = report(tmp_path, old_results, [])

    assert "Constant" not in page.text
    assert "No losses were recorded" in page.text
    assert page.attributes("svg") == []


def test_write_report_style_without_constant_gets_a_dash(tmp_path, old_results):
    del old_results["baseline_constant"]["Old"]
    old_results["baseline_constant"]["overall"] = {"CIDEr": None}

    page = report(tmp_path, old_results, [])

    assert page.table("Style")["Old"][:4] == ["4", "0.750", "–", "–"]


def test_write_report_style_that_could_not_be_scored_is_named_with_its_reason(tmp_path, results):
    results["per_style"]["Old"] = dict.fromkeys(results["per_style"]["Old"]) | {"n": 4}
    results["unavailable"]["per_style/Old"] = "no reference with a word."

    page = report(tmp_path, results, [])

    assert "Old" not in page.table("Style")
    assert "per_style/Old: no reference with a word. " in page.shown


def test_write_report_metric_that_one_style_lacks_gets_a_dash(tmp_path, results):
    results["per_style"]["Old"]["METEOR"] = None

    table = report(tmp_path, results, []).table("Style")

    meteor = table["Style"].index("METEOR")
    assert [table[style][meteor] for style in ("Sweet", "Old", "All")] == ["0.250", "–", "0.250"]
    assert "SPICE" not in table["Style"]


def test_write_report_many_metrics_with_one_reason_are_counted(tmp_path, results):
    results["unavailable"] = {f"per_style/style {i}": "no word" for i in range(7)}

    page = report(tmp_path, results, [])

    assert "per_style/style 3, per_style/style 4 and 2 more: no word." in page.shown


def test_write_report_shows_intervals_and_what_they_are(tmp_path, results):
    page = report(tmp_path, results, [])

    assert "95% bootstrap interval over images, 1,000 resamples" in page.shown
    assert "CIDEr 1.100 95%: 0.900–1.300 constant caption 0.300" in page.shown
    assert "BLEU-4 0.240 95%: 0.200–0.280 scale 0–1" in page.shown
    table = page.table("Style")
    assert table["Style"][2] == "Its 95% interval"
    assert [table[style][2] for style in ("Sweet", "Old", "All")] == ["1.100–1.400", "0.500–1.000", "0.900–1.300"]
    hovers = [attrs["title"] for attrs in page.attributes("td") if "interval" in attrs.get("title", "")]
    assert hovers == ["95% interval 0.510–0.710", "95% interval 0.200–0.280"]


def test_write_report_draws_the_intervals_on_one_scale(tmp_path, results):
    page = report(tmp_path, results, [])

    # The largest number, Old's constant of 2.0, is the right end: 1.1 lies at 55%, 1.4 at 70%.
    drawn = [(attrs["x1"], attrs["x2"]) for attrs in page.attributes("line") if attrs["class"] == "interval"]
    assert drawn == [("55.0%", "70.0%"), ("25.0%", "50.0%"), ("45.0%", "65.0%")]
    dots = [attrs["cx"] for attrs in page.attributes("circle") if attrs["class"] == "dot"]
    assert dots[:3] == ["62.5%", "37.5%", "55.0%"]
    rings = [attrs["cx"] for attrs in page.attributes("circle") if attrs["class"] == "ring"]
    assert rings[:3] == ["25.0%", "100.0%", "15.0%"]


def test_write_report_puts_the_judges_own_accuracy_beside_each_accuracy(tmp_path, results):
    page = report(tmp_path, results, [])

    assert "Style recognised 71.4% people’s captions: 65.0% chance: 71.4%" in page.shown
    assert "it recognises 65.0%; always naming the most common style would reach 71.4%" in page.shown
    judged = page.tables[1]
    assert judged[1][:4] == ["Style", "Captions", "Model's", "People's"]
    assert [row[:4] + row[5:] for row in judged[2:]] == [
        ["Sweet", "10", "90.0%", "70.5%", "8.2", "31.5"],
        ["Old", "4", "25.0%", "–", "1,234.5", "–"],
        ["All", "14", "71.4%", "65.0%", "–", "–"],
    ]
    assert "The judge: a linear model over words, learnt from 12,000 training captions, tried on 56 of" in page.shown


def test_write_report_confusion_has_styles_asked_for_as_rows(tmp_path, results):
    page = report(tmp_path, results, [])

    assert page.table("Style asked for") == {
        "Style asked for": ["Sweet", "Old", "Captions"],
        "Sweet": ["90% 9", "10% 1", "10"],
        "Old": ["75% 3", "25% 1", "4"],
    }
    cells = [
        (attrs["class"], attrs["title"]) for attrs in page.attributes("td") if "heard as" in attrs.get("title", "")
    ]
    assert cells == [
        ("right", "Sweet heard as Sweet: 9 of 10"),
        ("wrong", "Sweet heard as Old: 1 of 10"),
        ("wrong", "Old heard as Sweet: 3 of 4"),
        ("right", "Old heard as Old: 1 of 4"),
    ]


def test_write_report_many_styles_are_an_overview_with_the_most_frequent_mistakes(tmp_path, results):
    styles = [f"style {i}" for i in range(215)]
    counts = [[(x == y) + 2 * (x == 7) for x in range(215)] for y in range(215)]  # style 7 is heard everywhere
    counts[3][5] = 4
    results["style"] |= {
        "per_style": {style: {"accuracy": 0.3, "judge_accuracy": 0.2, "n": 3} for style in styles},
        "confusion": {"styles": styles, "counts": counts},
    }
    results["per_style"] |= {style: scores(0.5, 3) for style in styles}

    page = report(tmp_path, results, [])

    paths = page.attributes("path")
    # Eighths of the square root, rounded up: 1/3 -> 5 and 3/3 -> 8 are right, 2/3 -> 7 is wrong; in row 3
    # 1/7 -> 4 is right, 2/7 -> 5 and 4/7 -> 7 are wrong.
    assert [(attrs["class"], attrs["fill-opacity"]) for attrs in paths] == [
        ("wrong", "0.625"),
        ("wrong", "0.875"),
        ("right", "0.5"),
        ("right", "0.625"),
        ("right", "1.0"),
    ]
    assert sum(attrs["d"].count("M") for attrs in paths) == 2 * 213 + 1 + 3
    assert page.table("Style asked for")["style 3"] == ["style 5", "4 of 7"]
    assert len(page.table("Style asked for")) == 1 + 12
    taken_for = {row[0]: row[-1] for row in page.tables[1]}
    assert taken_for["style 3"] == "style 5 4 of 7"
    assert taken_for["style 9"] == "style 7 2 of 3"
    assert taken_for["style 7"] == ""


def test_write_report_perplexity_without_a_judge_stands_alone(tmp_path, results):
    row = {"accuracy": None, "judge_accuracy": None, "perplexity": 8.25, "reference_perplexity": 31.5, "n": 14}
    results["style"] = {"accuracy": None, "per_style": {"Sweet": row}, "confusion": None}

    page = report(tmp_path, results, [])

    assert page.tables[1][1:3] == [["Style", "Captions", "Model's", "People's"], ["Sweet", "14", "8.2", "31.5"]]
    assert "ecognise" not in page.shown.replace("Is the style recognised?", "")
    assert "None" not in page.html


def test_write_report_diversity_says_which_direction_is_better(tmp_path, results):
    page = report(tmp_path, results, [])

    assert "Different captions ↑ 50% of 14 Vocabulary ↑ 1,234 different words Distinct-1 ↑ 0.031" in page.shown
    assert "Self-CIDEr ↑ 0.740 1:" in page.shown
    assert "mBLEU-4 ↓ 0.310 1:" in page.shown
    assert "Copied captions ↓ 4.2% are word for word a training caption Caption length 9.0 words" in page.shown
    assert [attrs["aria-label"] for attrs in page.attributes("span") if "aria-label" in attrs] == [
        *["higher is better"] * 5,
        *["lower is better"] * 2,
    ]


def test_write_report_diversity_leaves_out_what_is_none(tmp_path, results):
    results["diversity"] |= {"mbleu_4": None, "self_cider": None, "copied_share": None}

    page = report(tmp_path, results, [])

    assert "Vocabulary ↑ 1,234" in page.shown
    assert not re.search("mBLEU-4|Self-CIDEr|Copied", page.text)


@pytest.mark.parametrize("absent", [{}, None, "missing"])
def test_write_report_absent_parts_leave_no_trace(tmp_path, results, absent):
    for part in ("style", "confidence", "diversity", "baseline_constant", "baseline_neighbours"):
        if absent == "missing":
            results.pop(part, None)
        else:
            results[part] = absent

    page = report(tmp_path, results, [])

    assert len(page.tables) == 3  # by style, configuration, provenance
    assert page.attributes("svg") == []
    assert not re.search("recognised|judge|interval|bootstrap|Diversity|onstant|eighbour|None", page.text)
    assert page.table("Style")["Sweet"][:3] == ["10", "1.250", "0.610"]
    assert page.open == []


def test_write_report_old_results_show_their_diversity_and_nothing_newer(tmp_path, old_results):
    page = report(tmp_path, old_results, [])

    assert "Different captions ↑ 50% of 14 Distinct-1 ↑ 0.031" in page.shown
    assert not re.search("recognised|interval|Vocabulary ↑", page.text)
    assert page.attributes("svg") == []


def test_write_report_style_names_with_markup_are_text_everywhere(tmp_path, results):
    bad = "\"><script>alert('x')</script>"
    judged = results["style"]
    judged["per_style"][bad] = judged["per_style"].pop("Old")
    judged["confusion"]["styles"] = ["Sweet", bad]
    for part in (results["per_style"], results["confidence"]["per_style"], results["baseline_constant"]):
        part[bad] = part.pop("Old")

    page = report(tmp_path, results, [])

    assert page.attributes("script") == []
    assert page.text.count(bad) == 4  # both tables, the confusion's row and column
    assert sum(bad in attrs.get("title", "") for attrs in page.attributes("td")) == 3
    assert page.open == []
    assert page.misplaced == []


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "–"),
        (0, "0%"),
        (0.0049, "<1%"),
        (0.005, "<1%"),
        (0.126, "13%"),
        (0.9949, "99%"),
        (0.9951, ">99%"),
        (1, "100%"),
    ],
)
def test_whole_percent_says_none_and_all_only_where_it_is_so(share, shown):
    assert whole_percent(share) == shown


def test_write_report_lists_configuration_and_provenance_by_dotted_key(tmp_path, results):
    config = {"train": {"lr": 5e-5, "freeze": []}, "data": {"images": Path("photos"), "styles": ["Sweet"]}}

    page = report(tmp_path, results, [], config=config, settings={"num_beams": 5})

    assert "Configuration train.lr 5e-05 train.freeze [] data.images photos data.styles" in page.shown
    assert "Provenance split toy/hash decode.num_beams 5 metrics.java null" in page.shown
    assert len(page.attributes("details")) == 2
    assert all("open" not in attrs for attrs in page.attributes("details"))


def test_write_report_draws_both_curves_inside_the_plot(tmp_path, old_results):
    losses = {"train": [(step, 5 - step / 100) for step in range(1, 301)], "val": [(100, 4.2), (200, 3.4), (300, 2.9)]}

    page = report(tmp_path, old_results, [], losses=losses)

    curves = [attrs["points"].split() for attrs in page.attributes("polyline")]
    assert [len(points) for points in curves] == [150, 3]
    numbers = [float(number) for points in curves for point in points for number in point.split(",")]
    assert min(numbers) >= 0
    assert max(numbers) <= 100
    assert len(page.attributes("circle")) == 3
    assert "train, last 2.000" in page.shown


def test_write_report_draws_a_small_chart_for_every_number_of_training(tmp_path, old_results):
    numbers = {"scst": 0.0, "reward": 1.5, "reward_std": 0.5, "reward/bleu_4": 0.3, "flat_share": 0.2, "masked_lm": 3.0}
    training = {name: [(step, value) for step in range(10, 60, 10)] for name, value in numbers.items()}

    page = report(tmp_path, old_results, [], losses={"train": [(10, 0.0)], "val": []}, training=training)

    assert "Reward weighted sum of its terms; band: one deviation mean, last 1.500" in page.shown
    assert "Reward term bleu_4 unweighted; band: one deviation mean, last 0.300" in page.shown
    assert "all rewards equal, last 0.200" in page.shown
    assert "masked LM, last 3.000" in page.shown
    assert "that loss says nothing about progress" in page.shown
    assert len(page.attributes("polyline")) == 1 + 4
    assert len(page.attributes("polygon")) == 1  # only the reward has deviations here
    corners = [
        float(number) for attrs in page.attributes("polygon") for number in re.split("[ ,]", attrs["points"].strip())
    ]
    assert len(corners) == 2 * 2 * 5
    assert 0 <= min(corners) < max(corners) <= 100
    assert page.open == page.misplaced == []


def test_write_report_of_a_run_without_such_numbers_leaves_no_trace(tmp_path, old_results):
    page = report(tmp_path, old_results, [], losses={"train": [(1, 2.0)], "val": []}, training={"loss": [(1, 2.0)]})

    assert not re.search("self-critical|step by step|eward", page.text)


def test_thumbnail_is_upright_and_on_white(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGBA", (60, 40), (0, 0, 0, 0)).save(tmp_path / "x.png", exif=exif)
    found = base64.b64decode((_thumbnail(tmp_path / "x.png") or "").partition(",")[2])
    with Image.open(io.BytesIO(found)) as image:
        assert (image.size, image.getpixel((20, 30))) == ((40, 60), (255, 255, 255))
