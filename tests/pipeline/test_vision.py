"""A run behind a pretrained vision network: from the configuration to the folder, and what is refused before it."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig, ResNetModel

import finetune
from configuration.changes import describe_changes
from models import open_captioner
from pipeline.train import train
from utils.io import read_json, read_jsonl, write_json


@pytest.fixture
def document(tiny_document, tmp_path):
    """The tiny run behind a ResNet of transformers that was made for 64 pixels."""
    torch.manual_seed(3)
    config = AutoConfig.for_model("resnet", embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])
    ResNetModel(config).save_pretrained(tmp_path / "network")
    write_json(tmp_path / "network/preprocessor_config.json", {"crop_size": {"height": 64, "width": 64}})
    overrides = tiny_document["model"]["overrides"]
    kept = {name: value for name, value in overrides.items() if not name.startswith("resnet_")}
    tiny_document["model"] |= {"vision": str(tmp_path / "network"), "overrides": kept}
    tiny_document["image"] = {"feature_cache": str(tmp_path / "features")}
    tiny_document["train"] |= {"epochs": 1}
    return tiny_document


def _losses(config):
    rows = [row for _, row in read_jsonl(config.work_dir / "metrics.jsonl")]
    return [row["train/loss"] for row in rows if "train/loss" in row]


def test_a_run_keeps_its_network_as_it_was_and_its_features_for_the_next(document, tmp_path, load, monkeypatch):
    first = load(document)
    results = train(first, ["finetune.py"], tmp_path / "conf.json")
    assert results["baseline_neighbours"]["overall"]["CIDEr"] is not None
    captioner = open_captioner(first.work_dir / "output")
    network = ResNetModel.from_pretrained(tmp_path / "network").state_dict()
    for name, tensor in captioner.module.encoder.embed_images.model.state_dict().items():
        assert torch.equal(tensor, network[name]), name
    assert read_json(first.work_dir / "output/configuration.json")["model"]["patch_image_size"] == 64
    (data,) = (tmp_path / "features").glob("*/*.bin")
    assert data.stat().st_size == 15 * 20 * 2 * 2 * 2  # 12 + 3 pictures, 20 channels in a grid of 2 x 2, float16
    monkeypatch.setattr("preprocessors.pictures.row_cache._write_part", pytest.fail)
    second = load(document | {"work_dir": str(tmp_path / "again")})
    train(second, ["finetune.py"], tmp_path / "conf.json")
    assert _losses(second) == _losses(first)


def test_last_stages_are_trained_at_their_own_rate_and_the_others_stay(document, tmp_path, load):
    document["train"] |= {"vision_stages": 1, "vision_lr": 1e-3}
    config = load(document)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    after = open_captioner(config.work_dir / "output").module.encoder.embed_images.model.state_dict()
    before = ResNetModel.from_pretrained(tmp_path / "network").state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("encoder.stages.3.") for name in changed)
    assert not any("running" in name for name in changed)


def _no_network(name, revision=None):
    raise ConnectionError("no network")


@pytest.mark.parametrize(
    ("group", "values", "message"),
    [
        ("train", {"vision_stages": 9}, "train.vision_stages=9: the vision network has 4"),
        ("train", {"vision_lr": 1e-3}, "train.vision_lr=0.001: the vision network is frozen"),
        ("image", {"feature_views": 2, "feature_cache_mb": 0}, "image.feature_views=2: only features of a frozen"),
        ("image", {"size": 416}, "image.size=416: the model takes multiples of 1 up to 128 pixels"),
        ("decode", {"guidance": 1.5}, "decode.guidance=1.5: compares with the neutral style 'plain'"),
        ("model", {"vision": "gone/network"}, "model.vision=gone/network"),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line_before_anything_is_written(
    document, tmp_path, capsys, monkeypatch, group, values, message
):
    monkeypatch.setattr("modelscope.snapshot_download", _no_network)  # the client itself tries again for 20 s
    document["style"] = {"neutral": "plain"}
    document.setdefault(group, {}).update(values)
    (tmp_path / "conf.json").write_text(json.dumps(document))
    assert finetune.main(["--conf", str(tmp_path / "conf.json")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_named_weights_are_never_trained(document, tmp_path, capsys):
    document["model"]["vision_weights"] = "named"
    document["train"]["vision_stages"] = 1
    (tmp_path / "conf.json").write_text(json.dumps(document))
    assert finetune.main(["--conf", str(tmp_path / "conf.json")]) == 2
    assert "weights that are trained must be kept" in capsys.readouterr().err


def test_an_older_run_goes_on_with_a_configuration_that_leaves_size_and_mean_out(load, tiny_document):
    new = load(tiny_document | {"image": {}})
    old = new.model_copy(update={"image": new.image.model_copy(update={"size": 480, "mean_std": "half"})})
    other = new.model_copy(update={"image": new.image.model_copy(update={"size": 224})})
    assert describe_changes(old, new) == []
    assert describe_changes(other, new) == ["image.size: 224 -> None"]
