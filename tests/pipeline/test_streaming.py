"""Runs whose training shards are streamed: they go on where they stopped, and refuse what would need all rows."""

from __future__ import annotations

import pytest
import torch

from configuration.loading import load_config
from pipeline.streaming import read_training
from pipeline.train import train
from tests.container_files import streamed_document, write_tar
from utils.io import read_jsonl, write_json


@pytest.fixture
def streamed(tiny_document, scenes, tmp_path):
    return streamed_document(tiny_document, scenes, tmp_path / "data")


def start(document, name, tmp_path, pause=None, **settings):
    changed = document | {"work_dir": str(tmp_path / name), "train": document["train"] | settings}
    write_json(tmp_path / f"{name}.json", changed)
    conf = tmp_path / f"{name}.json"
    return train(load_config(conf), ["finetune.py"], conf, pause)


def test_streamed_run_that_is_paused_ends_with_the_same_weights(streamed, tmp_path):
    """In the midst of its second epoch, and with other workers."""
    start(streamed, "straight", tmp_path)
    assert start(streamed, "paused", tmp_path, 1.5, num_workers=2)["paused"] == {"epoch": 1.5, "global_step": 6}
    start(streamed, "paused", tmp_path)
    straight, paused = (
        torch.load(tmp_path / name / "output/pytorch_model.bin", weights_only=True) for name in ("straight", "paused")
    )
    assert all(torch.equal(tensor, paused[name]) for name, tensor in straight.items())
    losses = [
        [row["train/loss"] for _, row in read_jsonl(tmp_path / name / "metrics.jsonl") if "train/loss" in row]
        for name in ("straight", "paused")
    ]
    assert losses[0] == losses[1]


def test_streamed_run_whose_shards_have_changed_is_refused(streamed, tmp_path):
    start(streamed, "run", tmp_path, 0.5)
    shard = tmp_path / "data" / "train-3.tar"
    write_tar(shard, {"9.png": b"other"})
    with pytest.raises(ValueError, match="holds a run on other training shards; they have changed since"):
        start(streamed, "run", tmp_path)


def test_first_shard_stands_for_all(streamed, tmp_path):
    write_json(tmp_path / "conf.json", streamed)
    read = read_training(load_config(tmp_path / "conf.json").data)
    assert len(read.examples) == 20
    assert {str(example.image_path.parent) for example in read.examples} == {str(tmp_path / "data" / "train-0.tar")}
    assert read.split_id == "webdataset/train*.tar"


def test_lanes_that_do_not_go_with_the_workers_are_refused(streamed, tmp_path):
    with pytest.raises(ValueError, match=r"stream_lanes=4: cannot be dealt out to 1 processes with 3 workers each"):
        start(streamed, "run", tmp_path, num_workers=3)
    streamed["data"]["stream_lanes"] = 6
    with pytest.raises(ValueError, match=r"stream_lanes=6: .* has 4 shards, and each lane needs one of its own"):
        start(streamed, "run", tmp_path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("group", "settings", "message"),
    [
        ("data", {"format": "ofa_tsv"}, "data.streaming=true: only data.format webdataset lies in shards"),
        ("data", {"styles": ["romantic"]}, "data.styles=.*streamed shards are taken whole; remove it"),
        ("data", {"streaming": False}, "train.steps=4: train.steps and data.streaming go together"),
        ("train", {"steps": None}, "train.steps=null: train.steps and data.streaming go together"),
        (
            "train",
            {"group_pictures": True},
            "train.group_pictures=true: needs to know all training rows; set it",
        ),
        (
            "train",
            {"captions_per_row": 2},
            "train.captions_per_row=2.*streamed give one caption at a time; set it to 1",
        ),
        ("masked_lm", {"weight": 0.5}, "masked_lm.weight=0.5: needs to know all training rows; set it to 0"),
        ("unlikelihood", {"leakage": 1.0}, "unlikelihood.leakage=1.0: needs to know all training rows"),
    ],
)
def test_what_needs_all_training_rows_is_refused(streamed, tmp_path, group, settings, message):
    write_json(tmp_path / "conf.json", streamed | {group: streamed.get(group, {}) | settings})
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "conf.json")
