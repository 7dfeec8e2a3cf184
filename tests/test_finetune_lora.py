"""Runs that train adapters: what is trained, what is saved, going on after a kill, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import finetune
from captioning.styled import open_styled
from configuration.loading import load_config
from pipeline.prepare import prepare
from runs.folder import Run
from tests.hf_folders import FAMILIES, WORDS
from trainers.callbacks import StopOrSave
from utils.io import read_jsonl

LORA = {"rank": 3, "alpha": 6, "dropout": 0.1}


class Killed(BaseException):
    """Ends a training where no code of ours is meant to catch it."""


@pytest.fixture
def document(tiny_document: dict[str, Any]) -> dict[str, Any]:
    """Configuration of a short run with adapters and style tokens; the model is still to be named."""
    train = {"epochs": 1, "batch_size": 12, "lr": 2e-2}
    changes = {"train": train, "masked_lm": {"weight": 0.5}, "style": {"inject": "token", "dropout": 0.2}}
    evaluation = tiny_document["eval"] | {"report_images": 1, "metrics": ["CIDEr"]}
    return tiny_document | changes | {"eval": evaluation, "lora": LORA, "checkpoint": {"every_epochs": 0.5}}


@pytest.fixture
def start(tiny_document: dict[str, Any], scenes: Path, tmp_path: Path) -> Any:
    """Writes a folder of a family to start from, OFA's with three of the four styles."""

    def write(family: str) -> dict[str, Any]:
        folder = tmp_path / "start"
        if family == "ofa":
            conf = tmp_path / "start.json"
            data = tiny_document["data"] | {"styles": ["neutral", "pirate", "robot"]}
            conf.write_text(json.dumps(tiny_document | {"style": {"inject": "token"}, "data": data}))
            prepare(load_config(conf)).captioner.save_to_dir(folder)
        else:
            captions = [text for _, row in read_jsonl(scenes / "train.jsonl") for text in row["captions"]]
            FAMILIES[family].write(folder, [*captions, *WORDS])
        return {"model": {"name": str(folder)}}

    return write


@pytest.fixture
def kill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    """Lets training end abruptly after an optimizer step, before it is validated and saved."""
    usual = StopOrSave.on_step_end

    def at(step: int | None) -> None:
        def end(self: Any, args: Any, state: Any, control: Any, **others: Any) -> None:
            if state.global_step == step:
                raise Killed
            usual(self, args, state, control, **others)

        monkeypatch.setattr(StopOrSave, "on_step_end", end)

    return at


def _run(document: dict[str, Any], tmp_path: Path, name: str, code: int = 0) -> Run:
    run, conf = Run(tmp_path / name), tmp_path / f"{name}.json"
    conf.write_text(json.dumps(document | {"work_dir": str(run.root)}))
    assert finetune.main(["--conf", str(conf)]) == code
    return run


def _weights(run: Run) -> dict[str, torch.Tensor]:
    return dict(open_styled(run.output).captioner.module.state_dict())


def test_run_trains_adapters_and_style_rows_alone_and_goes_on_after_a_kill_exactly(
    document, start, tmp_path, capsys, kill_at
):
    document |= start("ofa")
    run = _run(document, tmp_path, "whole")
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    losses = [row["train/cross_entropy"] for _, row in read_jsonl(run.metrics) if "train/cross_entropy" in row]
    assert losses[-1] < losses[0]

    told = re.search(
        r"lora: adapters in 6 layers; ([\d,]+) of [\d,]+ parameters .*, which are (.*)", run.log.read_text()
    )
    names = told[2].split(", ")
    assert len(names) == 2 * 6 + 1  # one layer each side: queries and values of three attentions
    assert sum("trainable_tokens_delta" in name for name in names) == 1
    assert all("lora_" in name or "trainable_tokens_delta" in name for name in names)

    before, after = open_styled(document["model"]["name"]), open_styled(run.output)
    old, new = (styled.captioner.module.state_dict() for styled in (before, after))
    rows = old["encoder.embed_tokens.weight"]
    ids = [before.captioner.tokenizer.encode_text(token)[0] for token in before.registry.style_tokens()]
    kept = torch.tensor([number not in ids for number in range(len(rows))])
    table = new["encoder.embed_tokens.weight"]
    assert len(table) == len(rows) + 1  # romantic
    assert torch.equal(table[: len(rows)][kept], rows[kept])
    assert not torch.isclose(table[ids], rows[ids]).all(1).any()
    assert after.captioner.module.projection_is_tied
    changed = {name for name in old if old[name].shape == new[name].shape and not torch.equal(old[name], new[name])}
    assert changed == {f"{name.partition('.lora_')[0]}.weight" for name in names if "lora_" in name}

    newest = run.checkpoint(max(int(folder.name.split("-")[1]) for folder in run.checkpoints.glob("checkpoint-*")))
    saved = load_file(newest / "adapter_model.safetensors")
    assert sum(tensor.numel() for tensor in saved.values()) == int(told[1].replace(",", ""))
    assert not [*newest.glob("*model.*")][1:]
    state = torch.load(newest / "optimizer.pt", weights_only=True)["state"]
    assert sum(entry["exp_avg"].numel() for entry in state.values()) == int(told[1].replace(",", ""))
    best = load_file(run.checkpoint(json.loads(run.best.read_text())["step"]) / "adapter_model.safetensors")
    beside = load_file(run.output / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(tensor, best[name]) for name, tensor in beside.items())

    assert finetune.main(["eval", "--conf", str(run.root / "config.json")]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["overall"] == results["overall"]

    kill_at(3)
    with pytest.raises(Killed):
        _run(document, tmp_path, "killed")
    kill_at(None)
    resumed = _run(document, tmp_path, "killed")
    assert (resumed.output / "pytorch_model.bin").read_bytes() == (run.output / "pytorch_model.bin").read_bytes()
    again = resumed.checkpoint(int(newest.name.split("-")[1]))
    for file in ("adapter_model.safetensors", "adapter_config.json"):
        assert (again / file).read_bytes() == (newest / file).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_captions_and_masked_captions_and_goes_on_exactly(
    family, document, start, tmp_path, kill_at
):
    document |= start(family) | {"train": document["train"] | {"epochs": 3}}
    run = _run(document, tmp_path, "whole")
    for name in ("train/cross_entropy", "train/masked_lm"):
        numbers = [row[name] for _, row in read_jsonl(run.metrics) if name in row]
        middle = len(numbers) // 2  # a single step's batch says little
        assert sum(numbers[middle:]) < sum(numbers[:middle])
    kill_at(7)
    with pytest.raises(Killed):
        _run(document, tmp_path, "killed")
    kill_at(None)
    resumed = _run(document, tmp_path, "killed")
    assert (resumed.output / "model.safetensors").read_bytes() == (run.output / "model.safetensors").read_bytes()


OBJECTIVES = {
    "rewards": {"scst": {"enabled": True, "num_samples": 3, "rewards": {"cider_d": 1.0}, "kl_weight": 0.1}},
    "pairs": {"preference": {"enabled": True, "loss": "dpo", "num_samples": 3}},
}


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("family", ["ofa", *FAMILIES])
def test_adapters_learn_from_rewards_and_pairs(family, objective, document, start, tmp_path, kill_at):
    """The policy that both are held to is the model without what its adapters have learnt."""
    document |= start(family) | OBJECTIVES[objective] | {"masked_lm": {}, "style": {"inject": "token"}}
    document["data"]["styles"] = ["neutral", "pirate", "robot"]
    if family != "ofa":
        document["style"] = {}
    run = _run(document, tmp_path, "whole")
    base = open_styled(document["model"]["name"], registry=open_styled(run.output).registry).captioner
    old, new = base.module.state_dict(), _weights(run)
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    if family == "ofa" and objective == "pairs":  # with style tokens; self-critical training keeps embeddings
        tied = {*base.module._tied_weights_keys, "encoder.embed_tokens.weight"}
        assert tied <= changed
        changed -= tied
    assert changed
    assert all(re.fullmatch(rf"{base.lora_targets}\.weight", name) for name in changed)
    kill_at(3)
    with pytest.raises(Killed):
        _run(document, tmp_path, "killed")
    kill_at(None)
    again = _weights(_run(document, tmp_path, "killed"))
    assert all(torch.equal(tensor, again[name]) for name, tensor in new.items())


def _refused(document: dict[str, Any], tmp_path: Path, capsys: Any, **changes: Any) -> str:
    capsys.readouterr()
    _run(document | changes, tmp_path, "run", code=2)
    return capsys.readouterr().err


def test_settings_that_make_no_sense_end_in_one_message_before_a_folder_is_made(document, start, tmp_path, capsys):
    document |= start("ofa")
    told = _refused(document, tmp_path, capsys, lora=LORA | {"targets": "q_proj"})
    assert "lora.targets='q_proj': matches the whole name of no layer; there are" in told
    told = _refused(document, tmp_path, capsys, train=document["train"] | {"vision_lr": 1e-3})
    assert "train.vision_lr=0.001: the vision network is frozen" in told
    told = _refused(document, tmp_path, capsys, model={"name": str(tmp_path / "start"), "preset": "nano"})
    assert "lora.rank=3: adapters stand beside weights that were trained" in told
    if not torch.cuda.is_available():
        told = _refused(document, tmp_path, capsys, lora=LORA | {"quantize": "nf4"})
        assert "lora.quantize=nf4: is done on CUDA GPUs, and there is none" in told
    kept = {"scst": {"enabled": True, "kl_weight": 0.1}, "style": {"inject": "token"}, "masked_lm": {}}
    told = _refused(document, tmp_path, capsys, lora=LORA | {"quantize": "int8"}, **kept)
    assert "not with pairs or scst.kl_weight, which compare with a copy of the model" in told
    told = _refused(document, tmp_path, capsys, lora={"rank": 0})
    assert "lora.rank=0: must be greater than or equal to 1" in told
    told = _refused(document, tmp_path, capsys, lora={"targets": ".*q_proj"})
    assert "only used with adapters; set lora.rank, or remove it" in told
    assert not (tmp_path / "run").exists()


def test_nothing_left_to_train_is_refused(document, start, tmp_path, capsys):
    document |= start("blip")
    changes = {"train": document["train"] | {"freeze": ["vision", "embeddings"]}}
    changes["lora"] = {"rank": 2, "targets": r"vision_model\.encoder\.layers\.\d+\.self_attn\.qkv"}
    told = _refused(document, tmp_path, capsys, **changes)
    assert "train.freeze: freezes all that has adapters, so that nothing is trained" in told
    assert not (tmp_path / "run").exists()


def test_run_goes_on_with_its_own_rank_and_base_alone(document, start, tmp_path, capsys, kill_at):
    document |= start("ofa")
    kill_at(3)
    with pytest.raises(Killed):
        _run(document, tmp_path, "run")
    told = _refused(document, tmp_path, capsys, lora=LORA | {"rank": 4})
    assert "lora.rank: 3 -> 4" in told
    assert "--checkpoint" not in told  # which cannot be adapters alone
    checkpoint = next((tmp_path / "run/checkpoints").glob("checkpoint-*"))
    told = _refused(document, tmp_path, capsys, model={"name": str(checkpoint)}, work_dir=str(tmp_path / "other"))
    assert "holds adapters (LoRA) and not the model that they belong to" in told
    (tmp_path / "start" / "MANIFEST.json").unlink()
    described = tmp_path / "start" / "config.json"
    whole = described.read_text()
    described.write_text(json.dumps(json.loads(whole) | {"dropout": 0.7}))
    assert "other numbers in config.json of model.name, which" in _refused(document, tmp_path, capsys)
    described.write_text(whole)
    weights = tmp_path / "start" / "pytorch_model.bin"
    state = torch.load(weights, weights_only=True)
    state["encoder.layers.0.fc1.bias"] += 1.0
    torch.save(state, weights)
    assert "other weights of model.name, which" in _refused(document, tmp_path, capsys)
