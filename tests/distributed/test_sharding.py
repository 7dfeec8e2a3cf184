"""Training in shards (FSDP) on two processes: the same as training whole, and what is not done is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env

from trainers.sharding import REFUSED, SWITCH, TAKEN, take_wish

REPOSITORY = Path(__file__).resolve().parents[2]

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


@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.slow) for kind in ("masked_lm", "dpo")), "scst"]
)
def test_step_in_shards_is_the_step_of_whole_models(launch, write, start_model, tmp_path, kind):
    """Gradients, update and what is logged; with tied embeddings, two passes of a layer, and accumulation."""
    groups = {"model": {"overrides": STILL}, "train": {"batch_size": 2, "accumulation_steps": 2}}
    if kind == "masked_lm":
        groups["masked_lm"] = {"weight": 0.5}
    if kind == "scst":
        groups |= {"scst": SCST}
    if kind == "dpo":
        groups |= {"preference": {"enabled": True, "num_samples": 3}, "scst": {"rewards": REWARDS}}
    if kind != "masked_lm":
        groups["model"] = {"name": str(start_model)}
    whole = _step(launch, write, tmp_path, "whole", {}, **groups)
    sharded = _step(launch, write, tmp_path, "sharded", ON, **groups)
    _assert_same(whole[0]["gradients"], sharded[0]["gradients"])
    _assert_same(whole[0]["change"], sharded[0]["change"])
    _assert_same(sharded[0]["change"], sharded[1]["change"])
    assert sharded[0]["logged"] == pytest.approx(whole[0]["logged"], rel=1e-5)


@pytest.fixture
def wished(monkeypatch):
    monkeypatch.setenv(SWITCH, "true")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv(TAKEN, "false")
    return monkeypatch


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("FSDP_VERSION", "1", "fsdp_version: 2"),
        ("FSDP_OFFLOAD_PARAMS", "true", "fsdp_offload_params: false"),
        ("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT", "fsdp_state_dict_type: FULL_STATE_DICT"),
    ],
)
def test_wish_for_what_is_not_done_is_refused(wished, name, value, message):
    wished.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name}={value}: .*{message}"):
        take_wish("auto")


def test_wish_of_one_process_or_of_fp16_is_refused(wished):
    with pytest.raises(ValueError, match="train.precision=fp16: not with FSDP"):
        take_wish("fp16")
    wished.delenv("RANK")
    with pytest.raises(ValueError, match="one process"):
        take_wish("auto")


@pytest.mark.parametrize("file", sorted((REPOSITORY / "conf/accelerate").glob("*.yaml")), ids=lambda file: file.stem)
def test_configuration_for_accelerate_is_what_its_launcher_takes(file, monkeypatch):
    """Every key is known to accelerate, and what the launcher makes of them is nothing that is refused here."""
    config = load_config_from_file(str(file))
    command = ["--config_file", str(file), "finetune.py", "--conf", "conf/demo.json"]
    args, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    assert defaults.num_processes == config.num_processes == args.num_processes
    assert args.use_fsdp == (file.stem == "fsdp")
    if args.use_fsdp:
        environment = {name: value for name, value in prepare_multi_gpu_env(args).items() if name in REFUSED}
        assert environment.keys() == REFUSED.keys()
        assert not [name for name, value in environment.items() if value.lower() == REFUSED[name][0].lower()]
