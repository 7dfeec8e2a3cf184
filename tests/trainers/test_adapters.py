"""A step that trains adapters, in one process and in two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.hf_folders import FAMILIES, WORDS
from trainers.sharding import TAKEN
from utils.io import read_jsonl


@pytest.fixture(params=FAMILIES)
def document(request: pytest.FixtureRequest, tiny_document: dict[str, Any], scenes: Path, tmp_path: Path) -> Any:
    captions = [text for _, row in read_jsonl(scenes / "train.jsonl") for text in row["captions"]]
    without = (
        {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0} if request.param == "florence2" else {}
    )
    FAMILIES[request.param].write(tmp_path / "start", [*captions, *WORDS], **without)
    changes = {"model": {"name": str(tmp_path / "start")}, "lora": {"rank": 3}, "masked_lm": {"weight": 0.5}}
    changes |= {"train": tiny_document["train"] | {"lr": 1.0}}  # of SGD, so that the update is the gradient
    return tiny_document | changes | {"style": {"inject": "token"}}


def _write(document: dict[str, Any], tmp_path: Path, name: str, **train: Any) -> Path:
    path = tmp_path / f"{name}.json"
    content = document | {"train": document["train"] | train, "work_dir": str(tmp_path / name)}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.slow
def test_two_ranks_give_the_update_of_one_process(document, tmp_path, one_step, two_ranks, assert_same):
    whole = one_step(_write(document, tmp_path, "whole", batch_size=8))
    ranks = two_ranks(_write(document, tmp_path, "ranks", batch_size=4))
    assert all("lora_" in name or "trainable_tokens" in name for name in whole["gradients"])
    for name, gradient in ranks[0]["gradients"].items():
        assert torch.equal(gradient, ranks[1]["gradients"][name]), name
    assert_same(whole["gradients"], ranks[0]["gradients"])
    assert_same(whole["change"], ranks[0]["change"])


def test_shards_are_refused(tiny_document, load, monkeypatch):
    from pipeline.training import training_arguments

    monkeypatch.setenv(TAKEN, "true")
    changes = {"model": {"name": "any"}, "lora": {"rank": 2}}
    with pytest.raises(ValueError, match=r"lora\.rank: not with FSDP, .*; use torchrun"):
        training_arguments(load(tiny_document | changes))
