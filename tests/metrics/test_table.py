"""A caption metric is one function and one entry: evaluation, confidence, configuration, report and sweep follow."""

from __future__ import annotations

import numpy as np
import pytest

from metrics.results import evaluate_captions
from metrics.scores.java import MetricUnavailable
from metrics.scores.measurement import Measurement, at_once
from metrics.table import METRICS, Metric, headlines, measurements_of
from reports.run.tables import headline_cards, style_table


def _longest_share(references, hypotheses):
    longest = [max(len(text.split()) for text in texts) for texts in references]
    return np.array([len(text.split()) / most for text, most in zip(hypotheses, longest, strict=True)])


def _never(references, hypotheses):
    raise MetricUnavailable("it is out today")


LENGTH = Measurement("LengthShare", ("LengthShare",), at_once(_longest_share))
ABSENT = Measurement("Absent", ("Absent_1", "Absent_2"), at_once(_never))
REFERENCES = {"a#x": ["one two three four"], "b#x": ["one two"], "c#y": ["one two three", "one"]}
HYPOTHESES = {"a#x": "one two", "b#x": "one two", "c#y": "one two three"}
STYLES = {"a#x": "x", "b#x": "x", "c#y": "y"}


@pytest.fixture(autouse=True)
def _new_entries(monkeypatch):
    here = "tests.metrics.test_table"
    monkeypatch.setitem(METRICS, "LengthShare", Metric("Length", f"{here}:LENGTH", top=2.0, higher_is_better=False))
    for name in ABSENT.metrics:
        monkeypatch.setitem(METRICS, name, Metric(name, f"{here}:ABSENT", place=None))


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
    assert results["unavailable"]["Absent_2"] == "it is out today"
    assert results["overall"]["LengthShare"] is not None


def test_new_metric_has_a_card_and_a_column_under_its_label():
    assert headlines()[-1] == "LengthShare"
    results = _results(["LengthShare", "CIDEr"])
    card = next(card for card in headline_cards(results) if card["label"] == "Length")
    assert "scale 0–2" in card["notes"]
    assert style_table(results)["names"] == ["Length"]


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
