"""OFA's encoder-decoder behind a pretrained vision network."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig, ResNetModel

from models import new_captioner, open_captioner
from models.captioner import NewModel
from utils.io import read_json, write_json

SIDES = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"layers": 1, "attention_heads": 2, "ffn_dim": 48}.items()
}
SHAPE = SIDES | {"d_model": 32, "image_bucket_size": 4, "token_bucket_size": 8}


@pytest.fixture
def network(tmp_path):
    """Folder of a ResNet of transformers, 20 channels at stride 32."""
    torch.manual_seed(3)
    config = AutoConfig.for_model("resnet", embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1])
    ResNetModel(config).save_pretrained(tmp_path / "network")
    pictures = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.4], "crop_size": {"height": 96, "width": 96}}
    write_json(tmp_path / "network/preprocessor_config.json", pictures)
    return tmp_path / "network"


def make_captioner(network, *, named=False, **overrides):
    captions, prompts = ["a dog runs over grass", "a cat sits on a mat"], [" what is it?"]
    wanted = NewModel("nano", SHAPE | overrides, captions, prompts, 300, 0, 7, str(network), named)
    return new_captioner(wanted)


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    return {
        "input_ids": torch.tensor([[0, 9, 12, 2], [0, 40, 2, 1]]),
        "patch_images": torch.randn(2, 3, 96, 96, generator=generator),
        "patch_masks": torch.ones(2, dtype=torch.bool),
    }


def test_the_encoder_sees_the_network_s_features_in_its_grid(network, inputs):
    captioner = make_captioner(network)
    model = ResNetModel.from_pretrained(network).eval()
    with torch.no_grad():
        features = model(inputs["patch_images"]).last_hidden_state
        assert features.shape == (2, 20, 3, 3)
        encoded = captioner.encode(inputs)
        given = captioner.encode({name: inputs[name] for name in ("input_ids",)} | {"image_features": features})
    assert encoded.last_hidden_state.shape == (2, 3 * 3 + 4, 32)
    assert torch.equal(encoded.last_hidden_state, given.last_hidden_state)
    assert captioner.limits() == (1, 4 * 32, 126)


def test_its_size_and_normalisation_are_the_network_s_own(network):
    info = make_captioner(network).vision()
    assert info == (96, ((0.4, 0.5, 0.6), (0.2, 0.3, 0.4)), True, False)


@pytest.mark.parametrize("named", [False, True])
def test_a_saved_folder_opens_to_an_equal_captioner(network, inputs, tmp_path, named):
    captioner = make_captioner(network, named=named)
    captioner.save(tmp_path / "saved", None)
    kept = torch.load(tmp_path / "saved/pytorch_model.bin", weights_only=True)
    assert any(name.startswith("encoder.embed_images.") for name in kept) != named
    opened = open_captioner(tmp_path / "saved")
    with torch.no_grad():
        states = [one.encode(inputs).last_hidden_state for one in (captioner, opened)]
    assert torch.equal(*states)
    assert opened.vision() == captioner.vision()


def test_a_checkpoint_of_trainer_s_kind_without_the_named_weights_opens_too(network, inputs, tmp_path):
    captioner = make_captioner(network, named=True)
    captioner.module.save_pretrained(tmp_path / "checkpoint")
    captioner.save_companions(tmp_path / "checkpoint", None)
    opened = open_captioner(tmp_path / "checkpoint")
    with torch.no_grad():
        states = [one.encode(inputs).last_hidden_state for one in (captioner, opened)]
    assert torch.equal(*states)


def test_a_folder_whose_network_is_gone_says_so(network, tmp_path):
    make_captioner(network, named=True).save(tmp_path / "saved", None)
    network.rename(tmp_path / "moved")
    with pytest.raises(
        FileNotFoundError, match=r"saved: the weights of its vision network are not in it, and: .*no such folder"
    ):
        open_captioner(tmp_path / "saved")


def test_modelscope_s_code_is_told_by_name_that_the_folder_is_not_for_it(network, tmp_path):
    make_captioner(network).save(tmp_path / "saved", None)
    assert read_json(tmp_path / "saved/configuration.json")["model"]["type"] == "stylecap-ofa-transformers"
    assert json.loads((tmp_path / "saved/config.json").read_text())["resnet_type"] == "transformers"
    from modelscope.utils.registry import Registry, build_from_cfg

    models = Registry("models")
    with pytest.raises(KeyError, match="stylecap-ofa-transformers is not in the models registry"):
        build_from_cfg({"type": "stylecap-ofa-transformers"}, models, group_key="image-captioning")


@pytest.mark.parametrize("name", ["resnet_width", "resnet_type", "vision"])
def test_options_of_ofa_s_own_network_are_refused_beside_another(network, name):
    with pytest.raises(ValueError, match=rf"model\.overrides\.{name}: cannot be set"):
        make_captioner(network, **{name: 1})


def test_a_grid_larger_than_the_table_is_refused(network, inputs):
    captioner = make_captioner(network, image_bucket_size=2)
    with pytest.raises(ValueError, match="an image of 3 x 3 patches does not fit image_bucket_size=2"):
        captioner.encode(inputs)
