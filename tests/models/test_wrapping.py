"""Weights as other training programs leave them: the same model opens, or one message says what to do."""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.ofa import PRESETS, OFAConfig, OFAForConditionalGeneration, OFATokenizer, load_ofa, save_ofa
from preprocessors.text.bpe import train_bpe

TINY = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 40, "decoder_ffn_dim": 44}
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Without a manifest, as somebody else's."""
    scratch = tmp_path_factory.mktemp("model")
    train_bpe(["a red circle above a blue square", "a dog in the snow"], scratch / "bpe", 300)
    tokenizer = OFATokenizer.from_pretrained(scratch / "bpe", num_codes=5, num_bins=0)
    torch.manual_seed(0)
    config = OFAConfig(**PRESETS["nano"] | TINY | {"vocab_size": len(tokenizer), "resnet_width": 4})
    saved = save_ofa(scratch / "saved", OFAForConditionalGeneration(config).eval(), tokenizer)
    assert not (saved / "MANIFEST.json").exists()
    return saved


@pytest.fixture
def rewrite(folder, tmp_path) -> Callable[..., Path]:
    """Makes a copy of the folder with its weights changed."""

    def make(change: Callable[[State], Any], **options: bool) -> Path:
        copy = Path(shutil.copytree(folder, tmp_path / "copy"))
        state = torch.load(folder / "pytorch_model.bin", weights_only=True)
        torch.save(change(state), copy / "pytorch_model.bin", **options)
        return copy

    return make


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {f"{prefix}{name}": tensor for name, tensor in state.items()}


def assert_same(opened: Path, folder: Path) -> None:
    found, wanted = (load_ofa(place)[0].state_dict() for place in (opened, folder))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


OPTIMIZER = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3, "params": [0]}]}
FORMS: dict[str, tuple[Callable[[State], Any], str]] = {
    "DistributedDataParallel": (prefixed("module."), "'module.'"),
    "torch.compile": (prefixed("_orig_mod."), "'_orig_mod.'"),
    "held by a module": (prefixed("model."), "'model.'"),
    "compiled in DistributedDataParallel": (prefixed("module._orig_mod."), "'module._orig_mod.'"),
    "fairseq": (lambda state: {"args": None, "cfg": {}, "model": state, "extra_state": {"epoch": 3}}, "'model'"),
    "state_dict": (lambda state: {"state_dict": state, "epoch": 3, "optimizer": OPTIMIZER}, "'state_dict'"),
    "DeepSpeed": (lambda state: {"module": state, "global_steps": 7}, "'module'"),
    "Lightning": (lambda state: {"state_dict": prefixed("model.")(state), "loops": {}}, "'model.'"),
    "settings as model": (lambda state: {"model": {"width": 32}, "state_dict": state}, "'state_dict'"),
}


@pytest.mark.parametrize("form", FORMS)
def test_weights_of_another_program_open_equal_and_the_log_says_how(folder, rewrite, caplog, form):
    change, told = FORMS[form]
    with caplog.at_level(logging.INFO, "models"):
        assert_same(rewrite(change), folder)
    assert any(told in line and "copy" in line for line in caplog.messages)


def test_file_in_the_old_form_of_torch_opens_equal(folder, rewrite):
    assert_same(rewrite(FORMS["fairseq"][0], _use_new_zipfile_serialization=False), folder)


def test_safetensors_with_a_prefix_open_equal(folder, rewrite):
    copy = rewrite(lambda state: {})
    (copy / "pytorch_model.bin").unlink()
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    save_file({f"module.{name}": tensor.clone() for name, tensor in state.items()}, copy / "model.safetensors")
    assert_same(copy, folder)


def test_plain_weights_open_without_a_word(folder, caplog):
    with caplog.at_level(logging.INFO, "models"):
        load_ofa(folder)
    assert caplog.messages == []


def half_prefixed(state: State) -> State:
    return {f"module.{name}" if number % 2 else name: state[name] for number, name in enumerate(state)}


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "half of the names": (half_prefixed, r"\d+ of their \d+ names begin with 'module\.'"),
    "two nestings": (lambda state: {"model": {"state_dict": state}}, r"'model' in it holds 'state_dict', which is no"),
    "two sets": (lambda state: {"model": state, "state_dict": state}, r"under 'state_dict' and 'model'"),
    "no tensors": (lambda state: {"epoch": 3, "lr": 0.1}, r"it holds 'epoch', which is no tensor"),
    "no tensors inside": (lambda state: {"model": {"width": 3}}, r"'model' in it holds 'width', which is no tensor"),
    "nothing": (lambda state: {}, r"it holds no tensors"),
    "nothing inside": (lambda state: {"state_dict": {}}, r"'state_dict' in it holds no tensors"),
    "another key": (lambda state: {"weights": state}, r"it holds 'weights', which is no tensor"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_weights_that_cannot_be_told_are_refused_with_the_remedy(rewrite, form):
    change, message = REFUSED[form]
    with pytest.raises(ValueError, match=message) as refusal:
        load_ofa(rewrite(change))
    said = str(refusal.value)
    assert "copy: the weights cannot be opened" in said
    assert form == "half of the names" or "pytorch_model.bin: " in said
    assert said.endswith("torch.save(model.state_dict(), FILE).")
    assert "opy the files again" not in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("zipped", [True, False])
def test_settings_as_an_object_beside_are_refused_by_their_name(rewrite, zipped):
    copy = rewrite(
        lambda state: {"args": argparse.Namespace(lr=1.0), "model": state}, _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: .*\(argparse\.Namespace\)") as refusal:
        load_ofa(copy)
    assert "only if you trust who made it" in str(refusal.value)
    assert "torch.load(FILE, weights_only=False)" in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_missing_parameter_behind_a_prefix_is_named_as_the_model_has_it(rewrite):
    copy = rewrite(lambda state: {"model": prefixed("module.")({**state, "decoder.extra": torch.zeros(2)})})
    with pytest.raises(ValueError, match=r"fit its config\.json: decoder\.extra is not a parameter of the model"):
        load_ofa(copy)


def test_fairseq_file_under_its_own_name_is_pointed_at(rewrite, folder):
    copy = rewrite(FORMS["fairseq"][0])
    (copy / "pytorch_model.bin").rename(copy / "checkpoint_best.pt")
    with pytest.raises(FileNotFoundError, match=r"'checkpoint_best\.pt' holds the weights, rename it to pytorch_model"):
        load_ofa(copy)
    (copy / "checkpoint_best.pt").rename(copy / "pytorch_model.bin")
    assert_same(copy, folder)


def test_text_as_weights_is_to_be_copied_again(rewrite):
    copy = rewrite(dict)
    (copy / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: it is damaged, no file of torch\.save.* Copy it again"):
        load_ofa(copy)
