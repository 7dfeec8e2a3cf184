from __future__ import annotations

import json
import logging

import pytest

import finetune
from captioning.styled import open_styled
from configuration.loading import load_config
from pipeline.lengths import LengthChoice, describe_cut
from pipeline.prepare import prepare
from preprocessors.examples import CaptionExample
from preprocessors.text.lengths import CaptionLengths
from utils.io import read_json, write_json


@pytest.fixture
def data(tmp_path, scenes):
    """Rows of one picture each, 200 short captions, one of 30 words and one of 200."""

    def write(texts, style="calm"):
        folder = tmp_path / "annotations"
        folder.mkdir(exist_ok=True)
        picture = next(iter(sorted((scenes / "images").iterdir()))).name
        row = {"image": picture, "style": style, "captions": texts}
        (folder / "train.jsonl").write_text(json.dumps(row))
        (folder / "val.jsonl").write_text(json.dumps(row | {"captions": texts[:1]}))
        return {"format": "jsonl", "annotations": str(folder), "images": str(scenes / "images")}

    return write


def _prepare(document, tmp_path, **decode):
    document = document | {"decode": {"num_beams": 2} | decode}
    write_json(tmp_path / "conf.json", document)
    return prepare(load_config(tmp_path / "conf.json"))


def _tokens(prepared, text):
    return len(prepared.captioner.captioner.tokenizer.encode_text(text))


def test_limit_of_a_new_model_covers_the_training_captions(tiny_document, tmp_path, data, caplog):
    tiny_document["data"] = data(["a dog"] * 200 + ["so many words are here in this one"])
    prepared = _prepare(tiny_document, tmp_path)
    tokens = _tokens(prepared, "a dog")
    assert prepared.config.decode.max_length == prepared.lengths.limit == prepared.writer.decoding.max_length == tokens
    assert prepared.captioner.settings.decoding.max_length == tokens
    with caplog.at_level(logging.INFO):
        prepared.lengths.tell()
    assert f"decode.max_length={tokens} (covers 99.5% of the training captions): 1 of 201 training" in caplog.text
    assert caplog.records[-1].levelname == "INFO"


def test_limit_is_that_of_the_configuration_then_of_the_model_folder(tiny_document, tmp_path, data, caplog):
    tiny_document["data"] = data(["a dog"] * 20 + ["so many words are here in this one"] * 20)
    prepared = _prepare(tiny_document, tmp_path, max_length=3)
    assert (prepared.lengths.limit, prepared.lengths.source) == (3, "as set")
    longest = prepared.lengths.lengths.longest
    prepared.lengths.tell()
    assert "20 of 40 training captions (50.0%) have more tokens" in caplog.text
    assert f"decode.max_length={longest} would cover 99.5%" in caplog.text
    prepared.captioner.save_to_dir(tmp_path / "model")
    received = tiny_document | {"model": {"name": str(tmp_path / "model")}}
    went_on = _prepare(received, tmp_path)
    assert (went_on.lengths.limit, went_on.lengths.source) == (3, "of the model it starts from")
    assert _prepare(received, tmp_path, max_length=7).lengths.limit == 7
    with pytest.raises(ValueError, match=r"decode\.min_length=4: must be at most decode\.max_length, which is 3"):
        _prepare(received, tmp_path, min_length=4)


def test_limit_stays_within_the_positions_and_above_the_shortest(tiny_document, tmp_path, data, caplog):
    tiny_document["data"] = data(["ha ho hi " * 70])
    tiny_document["model"]["overrides"] |= {"max_position_embeddings": 32}
    tiny_document["style"] = {"prompt": " {}"}
    prepared = _prepare(tiny_document, tmp_path)
    assert prepared.lengths.limit == prepared.captioner.captioner.limits().text_length == 30
    prepared.lengths.tell()
    assert "1 training captions have more tokens than the 30 that the model is trained on, and are cut" in caplog.text
    tiny_document["data"] = data(["a"])
    assert _prepare(tiny_document, tmp_path, min_length=9).lengths.limit == 9


def test_captions_that_the_ban_on_repetition_excludes_are_told(tiny_document, tmp_path, data, caplog):
    tiny_document["data"] = data(["we sing it again and we sing it again"])
    _prepare(tiny_document, tmp_path).lengths.tell()
    assert "decode.no_repeat_ngram_size=3: 1 of 1 training captions (100.0%) have so many tokens" in caplog.text
    caplog.clear()
    _prepare(tiny_document, tmp_path, no_repeat_ngram_size=0).lengths.tell()
    assert "no_repeat_ngram_size" not in caplog.text


def test_warning_names_the_styles_with_the_largest_shares(caplog):
    lengths = CaptionLengths({"calm": {5: 99, 20: 1}, "loud": {20: 21, 5: 79}, "plain": {5: 100}})
    LengthChoice(16, "as set", lengths, 100).tell()
    assert "22 of 300 training captions (7.3%)" in caplog.text
    assert "(loud 21.0%, calm 1.0%)" in caplog.text


def test_describe_cut_counts_hypotheses_and_references_by_style(tiny_document, tmp_path, data, caplog):
    tiny_document["data"] = data(["a dog"])
    prepared = _prepare(tiny_document, tmp_path)
    captioner, preprocessor = prepared.captioner.captioner, prepared.writer.preprocessor
    long = "so many words are here"
    rows = [("1", "calm", ("a dog", long)), ("2", "calm", ("a dog",)), ("1", "loud", (long,)), ("2", "mute", ())]
    examples = [CaptionExample(f"{name}#{style}", tmp_path / name, style, texts) for name, style, texts in rows]
    limit = _tokens(prepared, "a dog")
    found = describe_cut(examples, {"1#calm", "1#loud"}, limit, captioner, preprocessor)
    assert found == {
        "max_length": limit,
        "cut": 2,
        "cut_share": 0.5,
        "references_over": 0.5,
        "per_style": {
            "calm": {"n": 2, "cut": 1, "cut_share": 0.5, "references_over": pytest.approx(1 / 3)},
            "loud": {"n": 1, "cut": 1, "cut_share": 1.0, "references_over": 1.0},
            "mute": {"n": 1, "cut": 0, "cut_share": 0.0, "references_over": None},
        },
    }
    assert f"2 of 4 captions were cut at decode.max_length={limit} (loud 100.0%, calm 50.0%)" in caplog.text
    assert describe_cut([], set(), limit, captioner, preprocessor)["cut_share"] is None


def test_run_keeps_rule_and_limit_and_counts_what_was_cut(tiny_document, tmp_path, data, capsys):
    tiny_document["data"] = data(["Isn't it a dog?"] * 3, style="浪漫") | {"punctuation": "keep"}
    tiny_document |= {"train": {"epochs": 1, "batch_size": 8}, "decode": {"num_beams": 1}}
    tiny_document["eval"] |= {"neighbours": 0}
    run, conf = tmp_path / "run", tmp_path / "conf.json"
    write_json(conf, tiny_document)
    assert finetune.main(["--conf", str(conf)]) == 0
    results = json.loads(capsys.readouterr().out)
    settings = open_styled(run / "output").settings
    limit = read_json(run / "config.json")["decode"]["max_length"]
    assert (settings.punctuation, settings.decoding.max_length) == ("keep", limit)
    recorded = read_json(run / "environment.json")["data"]
    assert (recorded["punctuation"], recorded["max_length"], recorded["train_captions_over"]) == ("keep", limit, 0)
    assert results["length"]["max_length"] == read_json(run / "eval" / "val.json")["length"]["max_length"] == limit
    assert results["length"]["cut"] == 1  # after one step it ends nowhere
    assert "1 of 1 captions were cut at decode.max_length" in (run / "log.txt").read_text()
    assert "Cut at the limit" in (run / "report.html").read_text()
    # The same command again finds the same run, and another evaluation takes the model's own limit.
    assert finetune.main(["--conf", str(conf)]) == 0
    received = tmp_path / "received.json"
    write_json(received, tiny_document | {"work_dir": str(tmp_path / "other")})
    assert finetune.main(["eval", "--conf", str(received), "--checkpoint", str(run / "output")]) == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["provenance"]["decoding"]["max_length"] == limit


def test_model_keeps_its_rule_unless_told_otherwise(tiny_document, tmp_path, data):
    tiny_document["data"] = data(["Isn't it a dog?"]) | {"punctuation": "keep"}
    first = _prepare(tiny_document, tmp_path)
    first.captioner.save_to_dir(tmp_path / "model")
    received = tiny_document | {"model": {"name": str(tmp_path / "model")}}
    for asked, rule in ((None, "keep"), ("keep", "keep"), ("strip", "strip")):
        received["data"] = received["data"] | {"punctuation": asked}
        prepared = _prepare(received, tmp_path)
        assert prepared.captioner.settings.punctuation == prepared.writer.preprocessor.punctuation == rule
        labels = prepared.writer.preprocessor.target_ids("Isn't it?")
        assert prepared.writer.preprocessor.decode(labels) == ("Isn't it?" if rule == "keep" else "Isnt it")
    differences = prepared.came_with.differences(prepared.captioner.settings, "model")
    assert differences == ["data.punctuation: 'strip' is asked for, but model was trained with 'keep'"]
