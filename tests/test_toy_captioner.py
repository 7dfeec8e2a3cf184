"""Everything above ``models`` knows captioners by their interface: one that is nothing like OFA goes all the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import finetune
from captioning.model import CaptionModel
from captioning.writing import Writing
from models import open_captioner
from tests.toy_captioner import ToyCaptioner
from utils.io import read_jsonl

pytestmark = pytest.mark.usefixtures("toy_in_the_table")


@pytest.fixture
def document(toy_document: dict[str, Any]) -> dict[str, Any]:
    """Configuration of a run that starts from an untrained toy."""
    return toy_document | {
        "train": {"epochs": 8, "batch_size": 8, "lr": 2e-2, "lr_end": 1e-3, "warmup": 0.0},
    }


def _run(document: dict[str, Any], tmp_path: Path, name: str, **changes: Any) -> Path:
    run = tmp_path / name
    conf = tmp_path / f"{name}.json"
    conf.write_text(json.dumps(document | changes | {"work_dir": str(run)}))
    assert finetune.main(["--conf", str(conf)]) == 0
    return run


def _numbers(run: Path, name: str) -> list[float]:
    return [row[name] for _, row in read_jsonl(run / "metrics.jsonl") if name in row]


def test_toy_learns_captions_and_masked_captions_and_is_evaluated_and_captions(document, scenes, tmp_path, capsys):
    run = _run(document, tmp_path, "run")
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["n"] == 12
    assert results["overall"]["CIDEr"] > 0.3  # untrained it would be 0
    assert _numbers(run, "val/loss")[-1] < 0.7 * _numbers(run, "val/loss")[0]
    assert _numbers(run, "train/masked_lm")[-1] < 0.7 * _numbers(run, "train/masked_lm")[0]
    opened = open_captioner(run / "output")
    assert type(opened) is ToyCaptioner

    assert finetune.main(["eval", "--conf", str(run / "config.json")]) == 0
    again = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert again["overall"] == results["overall"]
    picture = str(next((scenes / "images").glob("*")))
    assert finetune.main(["caption", "--model", str(run / "output"), "--image", picture, "--all-styles"]) == 0
    captions = dict(line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert list(captions) == ["neutral", "pirate", "robot", "romantic"]
    assert len({*captions.values()}) > 1  # the style reaches it

    model, first = CaptionModel.open(run / "output"), captions["pirate"].split()[0]
    (found,) = model.caption([picture], "pirate", Writing(prefix=first))
    assert found["pirate"][0].text == captions["pirate"]
    (drawn,) = model.caption([picture], "pirate", Writing(3, "multinomial", prefix=first))
    assert all(caption.text.startswith(first) for caption in drawn["pirate"])
    (rest,) = model.complete(first, picture, "pirate", num=1, words=1)
    assert captions["pirate"].startswith(first + rest)
    with pytest.raises(ValueError, match="prefix='ossifrage': this model cannot write that, only ''"):
        model.check(Writing(prefix="ossifrage"))


@pytest.mark.parametrize(
    "scst",
    [
        {"kl_weight": 0.1, "baseline": "leave_one_out"},
        pytest.param({"baseline": "greedy", "sampling": "beam", "cross_entropy_weight": 0.5}, marks=pytest.mark.slow),
    ],
)
def test_toy_is_trained_on_rewards(document, tmp_path, scst):
    start = _run(document, tmp_path, "start_run", masked_lm={})
    changes = {
        "model": {"name": str(start / "output")},
        "train": {"epochs": 6, "batch_size": 8, "lr": 1e-2},
        "scst": {"enabled": True, "num_samples": 4, "rewards": {"cider_d": 1.0, "length": 1.0}} | scst,
        "masked_lm": {},
    }
    run = _run(document, tmp_path, "scst", **changes)
    before, after = (open_captioner(folder / "output").module for folder in (start, run))
    assert torch.equal(after.words.weight, before.words.weight)  # frozen in self-critical training
    assert not torch.equal(after.decoder[0].weight, before.decoder[0].weight)
    shares = _numbers(run, "train/flat_share")
    assert shares
    assert all(0 <= share < 1 for share in shares)
    reward = _numbers(run, "train/reward")
    assert sum(reward[-3:]) > sum(reward[:3])


def test_toy_with_a_frozen_vision_network_gets_its_features_from_the_cache(document, tmp_path):
    losses = []
    for limit in (0, 64):
        train = document["train"] | {"freeze": ["resnet"], "epochs": 2}
        image = {"size": 32, "feature_cache": str(tmp_path / "features"), "feature_cache_mb": limit}
        losses.append(_numbers(_run(document, tmp_path, f"run{limit}", train=train, image=image), "train/loss"))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert len(list((tmp_path / "features").glob("*/part-*.bin"))) == 1


def test_toy_resumed_equals_an_uninterrupted_run(document, tmp_path):
    changes = {"train": document["train"] | {"epochs": 2}, "checkpoint": {"every_epochs": 0.5, "keep_last": 9}}
    run = _run(document, tmp_path, "run", **changes)
    full = open_captioner(run / "output").module.state_dict()
    for step in (6, 9, 12):  # as if it had been killed after step 3
        (run / f"checkpoints/checkpoint-{step}").rename(tmp_path / f"gone-{step}")
    (run / "output").rename(tmp_path / "first")
    _run(document, tmp_path, "run", **changes)
    resumed = open_captioner(run / "output").module.state_dict()
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in full.items())


def test_open_captioner_of_an_unknown_kind_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    known = "ofa, blip, florence2, smolvlm, idefics3, paligemma, toy"
    with pytest.raises(ValueError, match=rf"config\.json is of a 'bert' model; captioners that can be opened: {known}"):
        open_captioner(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": ["ofa"]}')
    with pytest.raises(ValueError, match=r"config\.json is of a \['ofa'\] model"):
        open_captioner(tmp_path)


def test_open_captioner_of_a_damaged_folder_says_what_is_missing(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FileNotFoundError, match=r"is not a complete model folder: missing vocab\.json, merges\.txt"):
        open_captioner(tmp_path)
