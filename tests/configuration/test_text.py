"""Text runs: a language model on documents, in the same configuration."""

from __future__ import annotations

import pytest

TEXT = {"task": "text", "model": {"preset": "nano"}, "documents": {"format": "jsonl", "train": "rules.jsonl"}}


def test_load_config_text_run_needs_no_captions(load):
    config = load(TEXT)
    assert (config.task, config.data.format) == ("text", "")
    assert load(config.to_json_dict()) == config


def test_load_config_text_run_has_no_label_smoothing_unless_asked_for(load):
    assert load(TEXT).train.label_smoothing == 0.0
    assert load(TEXT, train={"label_smoothing": 0.1}).train.label_smoothing == 0.1
    assert load().train.label_smoothing == 0.1


def test_load_config_captions_still_need_their_format(faults):
    (line,) = faults({"model": {"preset": "nano"}})
    assert line.startswith("conf.json: data.format: missing; must be one of flickrstyle, ")


def test_load_config_alpha_of_others_programs_is_the_factor_of_repetition(load):
    assert load(TEXT | {"unlikelihood_alpha": 0.5}).unlikelihood.repetition == 0.5
    assert load(TEXT, overrides=["unlikelihood_alpha=0.25"]).unlikelihood.repetition == 0.25


def test_load_config_endless_text_run(load):
    train = load(TEXT, train={"epochs": None, "max_hours": 0.5}).train
    assert (train.epochs, train.max_hours) == (None, 0.5)


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (TEXT | {"task": "txt"}, "task=\"txt\": must be 'captions' or 'text'"),
        (TEXT | {"scst": {"enabled": True}}, "scst.enabled=true: not used with task text; set it to false"),
        (TEXT | {"style": {"dropout": 0.1}}, "style.dropout=0.1: not used with task text; set it to 0"),
        (TEXT | {"train": {"freeze": ["vision"]}}, 'train.freeze=["vision"]: not used with task text; set it to []'),
        (TEXT | {"checkpoint": {"select": "CIDEr"}}, 'checkpoint.select="CIDEr": a text run has no captions to score'),
        (TEXT | {"lm": {"positions": 4}}, "lm.positions=4: must be greater than or equal to 8"),
        (TEXT | {"train": {"epochs": None, "num_cycles": 2}}, "train.num_cycles=2: a training without an end"),
        (TEXT | {"unlikelihood": {"sequence": 1}}, "unlikelihood.sequence=1: must be less than 1"),
        (TEXT | {"documents": {}}, "data.format: missing; must be one of"),
        (
            TEXT | {"documents": {"format": "json"}},
            'documents.format="json": unknown document format; did you mean jsonl?',
        ),
        (TEXT | {"documents": {"format": "jsonl"}}, "documents.train: required with documents.format=jsonl"),
        (TEXT | {"documents": {"val": "a"}}, 'documents.val="a": captions are divided as the data group says'),
        (
            TEXT | {"documents": {"format": "jsonl", "train": "a", "separator": "--"}},
            'documents.separator="--": only used with documents.format text; remove it',
        ),
        (
            {"task": "text", "model": {"name": "a"}, "documents": {"format": "folder", "train": "a", "tokenizer": "b"}},
            'documents.tokenizer="b": the model to start from has a tokenizer',
        ),
    ],
)
def test_load_config_wrong_text_run_names_key_value_and_rule(faults, document, fault):
    assert any(line.startswith(f"conf.json: {fault}") for line in faults(document))


@pytest.mark.parametrize(
    ("groups", "fault"),
    [
        ({"lm": {"dropout": 0.2}}, "conf.json: lm: only used with task text; remove it"),
        ({"documents": {"overlap": 2}}, "conf.json: documents: only used with task text; remove it"),
        ({"train": {"epochs": None}}, "conf.json: train.epochs=null: only a text run is trained without an end"),
        ({"unlikelihood": {"sequence": 0.5}}, "conf.json: unlikelihood.sequence=0.5: only used with task text"),
    ],
)
def test_load_config_captions_have_no_use_for_what_is_texts(faults, groups, fault):
    document = {"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}}
    assert faults(document | groups)[0].startswith(fault)
