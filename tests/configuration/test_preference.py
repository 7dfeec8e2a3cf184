"""The settings of preference training."""

from __future__ import annotations

import pytest

from configuration.changes import describe_changes
from pipeline.objective import make_preference
from tests.conftest import SMALLEST
from trainers.preference import Preference

TRAINED = SMALLEST | {"model": {"name": "work_dir/a/output"}}
ON = {"preference": {"enabled": True}}


def test_load_config_preference_has_the_documented_defaults(load):
    preference = load().preference
    assert (preference.enabled, preference.loss, preference.pairs) == (False, "dpo", None)
    assert (preference.num_samples, preference.temperature, preference.cross_entropy_weight) == (5, 0.8, 0.0)
    assert not load().draws
    assert load(TRAINED, **ON).draws
    assert not load(TRAINED, preference={"enabled": True, "pairs": "pairs.jsonl"}).draws


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Preference("dpo", 0.1)),
        ({"beta": 0.5, "cross_entropy_weight": 0.2}, Preference("dpo", 0.5, 0.0, 0.2)),
        ({"loss": "simpo"}, Preference("simpo", 2.0, 1.0)),
        ({"loss": "simpo", "beta": 10}, Preference("simpo", 10.0, 5.0)),
        ({"loss": "simpo", "gamma": 0}, Preference("simpo", 2.0, 0.0)),
    ],
)
def test_what_is_left_open_is_that_of_the_papers(load, values, expected):
    assert make_preference(load(TRAINED, preference=values).preference) == expected


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"loss": "ipo"}, "preference.loss=\"ipo\": must be 'dpo' or 'simpo'"),
        ({"beta": 0}, "preference.beta=0: must be greater than 0"),
        ({"gamma": 1.0}, "preference.gamma=1.0: only used with preference.loss=simpo; remove it"),
        ({"num_samples": 1}, "preference.num_samples=1: must be greater than or equal to 2"),
        ({"temperature": 0}, "preference.temperature=0: must be greater than 0"),
        (
            {"pairs": "p", "num_samples": 3},
            "preference.num_samples=3: says how captions are drawn, and preference.pairs",
        ),
        (
            {"pairs": "p", "temperature": 1.0},
            "preference.temperature=1.0: says how captions are drawn, and preference.",
        ),
        ({"pair": "p"}, "preference.pair: unknown key; did you mean preference.pairs?"),
    ],
)
def test_load_config_wrong_preference_names_key_value_and_rule(faults, values, fault):
    (line,) = faults(TRAINED | {"preference": values})
    assert line.startswith(f"conf.json: {fault}")


@pytest.mark.parametrize(
    ("groups", "fault"),
    [
        (
            {"scst": {"enabled": True}},
            "preference.enabled=true: a run learns from pairs or from rewards, not both; set ",
        ),
        ({"train": {"rdrop": 0.5}}, "train.rdrop=0.5: not used in preference training; set it to 0"),
        ({"train": {"drop_worst": 0.5}}, "train.drop_worst=0.5: not used in preference training; set it to 0"),
        ({"style": {"dropout": 0.1}}, "style.dropout=0.1: not used in preference training; set it to 0"),
        (
            {"unlikelihood": {"leakage": 1.0}},
            "unlikelihood.leakage=1.0: unlikelihood is computed on people's captions, which this preference run does "
            "not score; set preference.cross_entropy_weight above 0, or this to 0",
        ),
        (
            {"train": {"captions_per_row": 2}},
            "train.captions_per_row=2: this preference run learns from no captions of people; set preference.cross_",
        ),
        (
            {
                "train": {"captions_per_row": 2},
                "preference": {"enabled": True, "pairs": "p", "cross_entropy_weight": 1.0},
            },
            "train.captions_per_row=2: a pair of preference.pairs has one chosen caption; set it to 1",
        ),
        (
            {"model": {"preset": "nano"}},
            "model.name: preference training starts from a trained captioner: give --checkpoint RUN/output",
        ),
        (
            {
                "data": {"format": "webdataset", "annotations": "{0..8}.tar", "streaming": True},
                "train": {"steps": 9},
            },
            "preference.enabled=true: needs to know all training rows; set it to false, or data.streaming to false",
        ),
        (
            {"task": "text", "model": {"preset": "nano"}, "train": {"label_smoothing": 0.0}},
            "preference.enabled=true: not used with task text; set it to false",
        ),
    ],
)
def test_load_config_what_does_not_go_with_preference_is_refused(faults, groups, fault):
    lines = faults(TRAINED | ON | groups)
    assert [line for line in lines if line.startswith(f"conf.json: {fault}")], lines


def test_load_config_preference_training_selects_by_cider_unless_told(load):
    assert load(TRAINED, **ON).checkpoint.select == "CIDEr"
    assert load(TRAINED, preference={"enabled": True, "pairs": "p"}).checkpoint.select == "CIDEr"
    assert load(TRAINED, checkpoint={"select": "loss"}, **ON).checkpoint.select == "loss"


def test_decoding_may_change_in_a_run_that_draws_no_captions_alone(load):
    for preference, changed in (({"enabled": True}, 1), ({"enabled": True, "pairs": "p"}, 0)):
        old, new = (load(TRAINED, preference=preference, decode={"max_length": length}) for length in (20, 30))
        assert len(describe_changes(old, new)) == changed
