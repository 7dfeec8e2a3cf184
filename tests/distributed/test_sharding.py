"""Training in shards (FSDP) on two processes: the same as training whole, and what is not done is refused."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

from configuration.loading import load_config
from trainers.sharding import SWITCH, TAKEN, take_wish

STEP = "tests/trainers/one_step.py"
ON = {SWITCH: "true"}
STILL = {"dropout": 0.0, "encoder_layers": 2, "decoder_layers": 2, "init_std": 0.3}
# Terms that tell the captions of an untrained model apart, which CIDEr-D hardly does.
REWARDS = {"cider_d": 1.0, "length": 1.0, "repetition": 1.0}
SCST = {"enabled": True, "num_samples": 2, "kl_weight": 0.1, "rewards": REWARDS}
SAME_DRAWS = {"freeze": ["batch_norm"], "warmup": 0.0, "lr": 0.5}


def _step(launch, write, tmp_path, name, environment, **groups):
    groups.setdefault("train", {})
    groups["train"] = SAME_DRAWS | {"batch_size": 4} | groups["train"]
    out = tmp_path / f"{name}_out"
    out.mkdir()
    done = launch(STEP, write(name, **groups), out, environment=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


def _assert_same(ours, others):
    assert ours.keys() == others.keys()
    assert max(tensor.abs().max().item() for tensor in ours.values()) > 1e-3
    for name, tensor in ours.items():
        assert (others[name] - tensor).norm() <= 1e-4 * tensor.norm() + 1e-7, name


@pytest.mark.parametrize("kind", ["masked_lm", "scst"])
def test_step_in_shards_is_the_step_of_whole_models(launch, write, start_model, tmp_path, kind):
    """Gradients, update and what is logged; with tied embeddings, two passes of a layer, and accumulation."""
    groups = {"model": {"overrides": STILL}, "train": {"batch_size": 2, "accumulation_steps": 2}}
    if kind == "masked_lm":
        groups["masked_lm"] = {"weight": 0.5}
    if kind == "scst":
        groups |= {"scst": SCST}
        groups["model"] = {"name": str(start_model)}
    whole = _step(launch, write, tmp_path, "whole", {}, **groups)
    sharded = _step(launch, write, tmp_path, "sharded", ON, **groups)
    _assert_same(whole[0]["gradients"], sharded[0]["gradients"])
    _assert_same(whole[0]["change"], sharded[0]["change"])
    _assert_same(sharded[0]["change"], sharded[1]["change"])
    assert sharded[0]["logged"] == pytest.approx(whole[0]["logged"], rel=1e-5)
