"""Runs over aliases, and runs that teach a trained model one more style."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import finetune
from captioning.styled import open_styled
from configuration.loading import load_config
from configuration.objectives import ScstConfig
from models.settings import Decoding
from pipeline.objective import make_self_critical
from pipeline.prepare import prepare
from utils.io import read_json, read_jsonl


@pytest.fixture
def relabelled(scenes, tiny_document, tmp_path):
    """Writes the scenes' rows with other styles and gives the document over them."""

    def write(rename: dict[str, str | None], **groups: Any) -> dict[str, Any]:
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        for name in ("train.jsonl", "val.jsonl"):
            rows = [row for _, row in read_jsonl(scenes / name)]
            named = [row | {"style": rename.get(row["style"], row["style"])} for row in rows]
            lines = [json.dumps(row) for row in named if row["style"] is not None]
            (folder / name).write_text("\n".join(lines) + "\n")
        return tiny_document | {"data": tiny_document["data"] | {"annotations": str(folder)}} | groups

    return write


def _conf(document: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "conf.json"
    path.write_text(json.dumps(document))
    return path


ONLY_NEW = {"pirate": "Shakespeare", "robot": None, "romantic": None, "neutral": None}
ALIASED = {"aliases": {"buccaneer": "pirate", "lover": "romantic"}}


def test_alias_in_rows_settings_and_corpus_means_its_style_and_is_saved(relabelled, tmp_path):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"body": "arr the sea", "meta": "BUCCANEER"}\n{"body": "beep", "meta": "robot"}\n')
    document = relabelled({"pirate": "Buccaneer"}, style=ALIASED, masked_lm={"weight": 0.5, "corpus": str(corpus)})
    document["data"]["styles"], document["eval"]["styles"] = ["BUCCANEER", "lover"], ["buccaneer"]
    prepared = prepare(load_config(_conf(document, tmp_path)))
    assert {example.style for example in prepared.data.train.examples} == {"pirate", "romantic"}
    assert {example.style for example in prepared.data.eval.examples} == {"pirate"}
    assert all(example.example_id.endswith("#pirate") for example in prepared.data.eval.examples)
    assert [(text.body, text.style) for text in prepared.data.corpus] == [("arr the sea", "pirate")]
    prepared.captioner.save_to_dir(tmp_path / "saved")
    registry = open_styled(tmp_path / "saved").registry
    assert (registry.names, registry.aliases) == (("pirate", "romantic", "neutral"), ALIASED["aliases"])
    picture = document["data"]["images"] + "/val_0000.png"
    assert finetune.main(["caption", "--model", str(tmp_path / "saved"), "--image", picture, "--style", "Lover"]) == 0


def test_captions_of_a_style_under_two_names_come_together(relabelled, tmp_path):
    document = relabelled({"romantic": "pirate"})
    plain = prepare(load_config(_conf(document, tmp_path))).data.train.examples
    document = relabelled({"romantic": "buccaneer"}, style=ALIASED | {"aliases": {"buccaneer": "pirate"}})
    aliased = prepare(load_config(_conf(document, tmp_path))).data.train.examples
    assert [(item.example_id, item.captions) for item in aliased] == [
        (item.example_id, item.captions) for item in plain
    ]


@pytest.mark.parametrize("command", [[], ["eval"]])
def test_alias_to_no_style_is_told_in_one_line(relabelled, tmp_path, capsys, start_model, command):
    document = relabelled({}, style={"aliases": {"buccaneer": "pirat"}})
    arguments = [*command, "--conf", str(_conf(document, tmp_path)), "--checkpoint", str(start_model)]
    assert finetune.main(arguments) == 2
    assert "alias 'buccaneer' leads to 'pirat', which is no style; nearest: pirate" in capsys.readouterr().err


def test_alias_of_the_configuration_serves_the_evaluation_of_a_model_without_it(
    relabelled, tmp_path, start_model, capsys
):
    document = relabelled({"pirate": "buccaneer"}, style=ALIASED)
    assert finetune.main(["eval", "--conf", str(_conf(document, tmp_path)), "--checkpoint", str(start_model)]) == 0
    assert set(json.loads(capsys.readouterr().out.splitlines()[-1])["per_style"]) == {
        *("neutral", "pirate", "robot", "romantic")
    }


@pytest.fixture
def with_tokens(tiny_document, tmp_path) -> Path:
    """A model with a token for each of four styles."""
    prepared = prepare(load_config(_conf(tiny_document | {"style": {"inject": "token"}}, tmp_path)))
    prepared.captioner.save_to_dir(tmp_path / "tokens")
    return tmp_path / "tokens"


def test_training_on_a_new_style_adds_it_and_keeps_the_others(relabelled, with_tokens, tmp_path, capsys):
    document = relabelled(ONLY_NEW, model={"name": str(with_tokens)}, style={"inject": "token"})
    document["train"] = document["train"] | {"epochs": 1}
    output = tmp_path / "run/output"
    assert finetune.main(["--conf", str(_conf(document, tmp_path))]) == 0
    old, new = open_styled(with_tokens), open_styled(output)
    assert new.registry.names == (*old.registry.names, "Shakespeare")
    assert new.settings.trained_styles == new.registry.names
    start = old.with_styles(["Shakespeare"]).captioner.module.get_input_embeddings().weight
    trained = new.captioner.module.get_input_embeddings().weight
    assert trained.shape == start.shape
    assert not torch.allclose(trained[-1], start[-1], atol=1e-4)
    (folder,) = (tmp_path / "run/checkpoints").glob("checkpoint-*")
    moments = torch.load(folder / "optimizer.pt", weights_only=True)["state"].values()
    (table,) = (moment["exp_avg"] for moment in moments if moment["exp_avg"].shape == trained.shape)
    assert table[-1].abs().sum() > 0
    picture = str(next(Path(document["data"]["images"]).iterdir()))
    for style in ("shakespeare", "pirate", "shakespeare+robot"):
        assert finetune.main(["caption", "--model", str(output), "--image", picture, "--style", style]) == 0
    capsys.readouterr()


@pytest.mark.slow
def test_interrupted_training_on_a_new_style_ends_with_the_weights_of_a_whole_one(
    relabelled, with_tokens, tmp_path, capsys
):
    document = relabelled(ONLY_NEW, model={"name": str(with_tokens)}, style={"inject": "token"})
    conf, folders = str(_conf(document, tmp_path)), [tmp_path / "run", tmp_path / "whole"]
    assert finetune.main(["--conf", conf, "--pause_after", "1"]) == 0
    assert "paused" in json.loads(capsys.readouterr().out)
    assert finetune.main(["--conf", conf]) == 0
    assert finetune.main(["--conf", conf, "--set", f"work_dir={folders[1]}"]) == 0
    states = [torch.load(folder / "output/pytorch_model.bin", weights_only=True) for folder in folders]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_new_style_near_an_old_one_is_told(relabelled, start_model, tmp_path, caplog):
    document = relabelled({"pirate": "Pirat"}, model={"name": str(start_model)})
    caplog.set_level("INFO")
    prepare(load_config(_conf(document, tmp_path)))
    assert "new style 'Pirat', in the prompt as pirat" in caplog.text
    assert "new style 'Pirat' is all but 'pirate'; if it is the same: style.aliases.Pirat=pirate" in caplog.text
    caplog.clear()
    prepared = prepare(load_config(_conf(document | {"style": {"aliases": {"pirat": "pirate"}}}, tmp_path)))
    assert "new style" not in caplog.text
    assert prepared.captioner.registry.names == open_styled(start_model).registry.names


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"scst": {"enabled": True}}, "made with other styles (not in the model: Shakespeare)"),
        ({"style": {"inject": "code"}}, "made with other styles (inject 'code', there 'words')"),
        ({"style": {"neutral": "plain"}}, "made with other styles (neutral 'plain', there 'neutral')"),
    ],
)
def test_model_that_cannot_be_given_the_style_is_refused(relabelled, start_model, tmp_path, capsys, groups, message):
    document = relabelled(ONLY_NEW, model={"name": str(start_model)}, **groups)
    assert finetune.main(["--conf", str(_conf(document, tmp_path))]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_guidance_by_a_neutral_style_never_learnt_is_refused_in_training_and_told_in_evaluation(
    relabelled, start_model, tmp_path, capsys, caplog
):
    document = relabelled({"neutral": None}, decode={"num_beams": 2, "max_length": 12, "guidance": 2.0})
    assert finetune.main(["--conf", str(_conf(document, tmp_path))]) == 2
    assert "never trained on; set style.dropout above 0" in capsys.readouterr().err
    path = start_model / "configuration.json"
    settings = read_json(path)
    settings["model"]["trained_styles"].remove("neutral")
    path.write_text(json.dumps(settings))
    (start_model / "MANIFEST.json").unlink()
    assert finetune.main(["eval", "--conf", str(_conf(document, tmp_path)), "--checkpoint", str(start_model)]) == 0
    assert "compares with the neutral style 'neutral', which is never trained on" in caplog.text


def test_rewarded_captions_are_drawn_without_guidance_and_that_is_told(caplog):
    make_self_critical(ScstConfig(), Decoding(guidance=1.0), [], 7)
    assert not caplog.text
    make_self_critical(ScstConfig(), Decoding(guidance=1.5), [], 7)
    assert "decode.guidance=1.5: holds for captions that are written" in caplog.text
