"""A caption metric is one function and one entry: evaluation, confidence, configuration, report and sweep follow."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.coco import score_captions
from metrics.compare import compare
from metrics.results import evaluate_captions
from metrics.scores.java import MetricUnavailable
from metrics.scores.measurement import Measurement, at_once
from metrics.table import METRICS, Metric, headlines, measurements_of
from reports.run.page import write_report
from reports.run.tables import headline_cards, style_table
from utils.io import write_json


def _longest_share(references, hypotheses):
    longest = [max(len(text.split()) for text in texts) for texts in references]
    return np.array([len(text.split()) / most for text, most in zip(hypotheses, longest, strict=True)])


def _never(references, hypotheses):
    raise MetricUnavailable("it is out today")


def _hits(references, hypotheses):
    words = [set(" ".join(texts).split()) for texts in references]
    captions = [text.split() for text in hypotheses]
    return np.array([(sum(map(known.__contains__, own)), len(own)) for known, own in zip(words, captions, strict=True)])


def _needs_two(references, hypotheses):
    if len(references) < 2:
        raise MetricUnavailable("it compares examples")
    return np.full(len(references), len(references), dtype=float)


def _ratios(totals):
    share = totals[..., 0] / totals[..., 1]
    return np.stack([share, 1 - share], axis=-1)


LENGTH = Measurement("LengthShare", ("LengthShare",), at_once(_longest_share))
HITS = Measurement("Hits", ("HitRate", "MissRate"), at_once(_hits), num_statistics=2, from_statistics=_ratios)
ABSENT = Measurement("Absent", ("Absent_1", "Absent_2"), at_once(_never), num_statistics=2, from_statistics=_ratios)
CROWD = Measurement("Crowd", ("Crowd",), at_once(_needs_two), depends_on_corpus=True)
REFERENCES = {"a#x": ["one two three four"], "b#x": ["one two"], "c#y": ["one two three", "one"]}
HYPOTHESES = {"a#x": "one two", "b#x": "one two", "c#y": "one two three"}
STYLES = {"a#x": "x", "b#x": "x", "c#y": "y"}


@pytest.fixture(autouse=True)
def _new_entries(monkeypatch):
    here = "tests.metrics.test_table"
    monkeypatch.setitem(METRICS, "LengthShare", Metric("Length", f"{here}:LENGTH", top=2.0, higher_is_better=False))
    for source, measurement in {"HITS": HITS, "ABSENT": ABSENT, "CROWD": CROWD}.items():
        for name in measurement.metrics:
            label = name.replace("_", " ")
            monkeypatch.setitem(METRICS, name, Metric(label, f"{here}:{source}", place=None))


def _results(metrics):
    return evaluate_captions(REFERENCES, HYPOTHESES, STYLES, train_captions=None, provenance={}, metrics=metrics)


def test_new_metric_is_measured_overall_by_style_and_with_its_interval():
    results = _results(["LengthShare", "Bleu_1"])
    assert results["overall"]["LengthShare"] == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert results["per_style"]["x"]["LengthShare"] == pytest.approx(3 / 4)
    low, high = results["confidence"]["overall"]["LengthShare"]
    assert 0.5 <= low < results["overall"]["LengthShare"] < high <= 1.0


def test_new_metric_that_cannot_run_is_null_with_its_reason_and_stops_no_other():
    results = _results(["Absent_2", "LengthShare"])
    assert results["overall"]["Absent_2"] is None
    assert results["overall"]["LengthShare"] is not None
    assert results["unavailable"]["Absent_2"] == "it is out today"
    assert "Absent_1" not in results["unavailable"]  # nobody asked for it


def test_new_metrics_from_statistics_add_up_over_examples_and_can_be_compared(tmp_path, capsys):
    hypotheses = {"a": "one two", "b": "one six seven eight", "c": "one"}
    references = {"a": ["one two"], "b": ["one"], "c": ["one"]}
    names = ["HitRate", "CIDEr", "LengthShare"]
    results = evaluate_captions(
        references, hypotheses, None, train_captions=None, provenance={}, metrics=names, per_image=True
    )
    assert results["overall"]["HitRate"] == pytest.approx((2 + 1 + 1) / (2 + 4 + 1))  # the mean would be 3/4
    assert [row["hits_statistics"] for row in results["per_image"].values()] == [[2, 2], [1, 4], [1, 1]]
    low, high = results["confidence"]["overall"]["HitRate"]
    assert low == pytest.approx(1 / 4)  # b three times
    assert high == 1

    for name in ("a.json", "b.json"):
        write_json(tmp_path / name, results)
    compared = compare(tmp_path / "a.json", tmp_path / "b.json", None, resamples=100)
    assert compared["metrics"]["HitRate"]["a"] == results["overall"]["HitRate"]
    assert compared["metrics"]["HitRate"]["difference"] == 0
    assert len({len(line) for line in capsys.readouterr().err.splitlines()}) == 1  # long names keep the columns


def test_new_metric_that_looks_at_all_examples_is_measured_anew_for_some():
    texts = {key: [text] for key, text in HYPOTHESES.items()}
    scores = score_captions(texts, HYPOTHESES, metrics=["Crowd", "HitRate"])
    assert scores.overall == {"HitRate": 1, "Crowd": 3}
    assert scores.subset(["a#x", "b#x"]).overall == {"HitRate": 1, "Crowd": 2}
    alone = scores.subset(["c#y"])
    assert alone.overall == {"HitRate": 1, "Crowd": None}
    assert alone.unavailable == {"Crowd": "it compares examples"}


def test_measurement_with_half_of_what_statistics_need_is_refused():
    with pytest.raises(AssertionError, match="give both or neither"):
        Measurement("Hits", ("HitRate",), at_once(_hits), from_statistics=_ratios)
    with pytest.raises(AssertionError, match="several metrics"):
        Measurement("Hits", ("HitRate", "MissRate"), at_once(_hits))


def test_new_metric_has_a_card_and_a_column_under_its_label(tmp_path):
    assert headlines()[-1] == "LengthShare"
    results = _results(["LengthShare", "CIDEr", "Absent_1"])
    card = next(card for card in headline_cards(results) if card["label"] == "Length")
    assert "scale 0–2 (lower is better)" in card["notes"]
    table = style_table(results)
    assert table["names"] == ["Length"]
    assert table["scales"] == "CIDEr scale 0–10, Length 0–2 (lower is better), the others 0–1"

    write_report(tmp_path / "report.html", title="", results=results, rows=[], losses={}, config={}, settings={})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<th scope="col">Length</th>' in page
    assert "Not measured: Absent 1: it is out today." in page


def test_new_metric_is_taken_by_the_configuration(load):
    assert load(eval={"metrics": ["LengthShare"]}).eval.metrics == ["LengthShare"]
    with pytest.raises(ValueError, match="unknown metric; did you mean LengthShare"):
        load(eval={"metrics": ["Lengthshar"]})


def test_every_entry_leads_to_a_measurement_that_gives_it():
    for name in METRICS:
        (measurement,) = measurements_of([name])
        assert name in measurement.metrics


def test_measurements_come_once_for_several_metrics_in_the_order_of_the_table():
    assert [m.name for m in measurements_of(["CIDEr", "Bleu_4", "Bleu_1", "METEOR"])] == ["BLEU", "METEOR", "CIDEr"]
