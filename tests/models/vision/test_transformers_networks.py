from __future__ import annotations

import json

import pytest
import torch
import transformers
from transformers import AutoConfig

from models.vision.table import build_vision, load_named, open_vision
from models.vision.transformers_networks import TransformersNetwork
from utils.io import read_json, write_json

TOWER = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 36}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 20, "vocab_size": 99}
TEXT |= {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
TOWERS = {"vision_config": TOWER | {"image_size": 64, "patch_size": 16}, "text_config": TEXT}
SMALL = {"image_size": 64, "patch_size": 16}
NETWORKS = {
    "resnet": ("ResNetModel", {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1]}),
    "convnext": ("ConvNextModel", {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 2, 1]}),
    "dinov2": ("Dinov2Model", TOWER | {"image_size": 70, "patch_size": 14}),
    "swin": ("SwinModel", {"embed_dim": 12, "depths": [1, 1, 2], "num_heads": [1, 2, 3], "window_size": 4}),
    "clip_vision_model": ("CLIPVisionModel", TOWER | SMALL),
    "siglip_vision_model": ("SiglipVisionModel", TOWER | SMALL),
    "clip": ("CLIPModel", TOWERS),
    "siglip": ("SiglipModel", TOWERS),
}
GRIDS = {"resnet": 3, "convnext": 3, "dinov2": 5, "swin": 6, "clip_vision_model": 4, "siglip_vision_model": 4}
SIDES = {"resnet": 96, "convnext": 96, "dinov2": 70, "swin": 96}


@pytest.fixture(params=NETWORKS)
def saved(request, tmp_path):
    """(kind, the library's own model, its folder)."""
    class_name, fields = NETWORKS[request.param]
    torch.manual_seed(3)
    model = getattr(transformers, class_name)(AutoConfig.for_model(request.param, **fields)).eval()
    model.save_pretrained(tmp_path / "network")
    sides = {"size": {"shortest_edge": SIDES.get(request.param, 64)}}
    write_json(tmp_path / "network/preprocessor_config.json", sides | {"image_mean": [0.4] * 3, "image_std": [0.2] * 3})
    return request.param, model, tmp_path / "network"


def test_features_are_the_last_hidden_states_of_the_library_s_own_class(saved):
    kind, model, folder = saved
    opened = open_vision(str(folder))
    side, grid = SIDES.get(kind, 64), GRIDS.get(kind, 4)
    description = opened.description
    assert (description["size"], description["mean"], description["std"]) == (side, [0.4] * 3, [0.2] * 3)
    pictures = torch.randn(2, 3, side, side)
    with torch.no_grad():
        features = opened.network(pictures)
        hidden = getattr(model, "vision_model", model)(pictures).last_hidden_state
    assert features.shape == (2, description["channels"], grid, grid)
    assert description["stride"] == side // grid
    if hidden.ndim == 3:  # row by row, behind a class token or none
        hidden = hidden[:, hidden.shape[1] - grid * grid :]
        features = features.permute(0, 2, 3, 1).flatten(1, 2)
    assert torch.equal(features, hidden)


def test_a_network_is_built_again_from_what_config_json_keeps(saved):
    kind, _, folder = saved
    opened = open_vision(str(folder))
    built = build_vision(json.loads(json.dumps(opened.description)))
    built.load_state_dict(opened.network.state_dict())
    pictures = torch.randn(1, 3, SIDES.get(kind, 64), SIDES.get(kind, 64))
    with torch.no_grad():
        assert torch.equal(built.eval()(pictures), opened.network(pictures))


@pytest.mark.parametrize("kind", ["clip_vision_model", "siglip_vision_model"])
def test_a_tower_stretches_its_positions_over_other_sizes(kind):
    network = TransformersNetwork(AutoConfig.for_model(kind, **NETWORKS[kind][1]), 24, 16).eval()
    with torch.no_grad():
        features = network(torch.randn(1, 3, 96, 96))
        own = network.model(torch.zeros(1, 3, 96, 96), interpolate_pos_encoding=True).last_hidden_state
    assert features.shape == (1, 24, 6, 6)
    assert own.shape[1] in (36, 37)


def test_stages_are_the_layers_of_the_encoder():
    counts = {
        kind: len(TransformersNetwork(AutoConfig.for_model(kind, **NETWORKS[kind][1]), 1, 1).stages()) for kind in GRIDS
    }
    assert counts == {
        "resnet": 4, "convnext": 4, "dinov2": 3, "swin": 3, "clip_vision_model": 3, "siglip_vision_model": 3
    }  # fmt: skip


def test_a_folder_of_another_kind_of_model_is_refused(tmp_path):
    AutoConfig.for_model("gpt2", n_layer=1, n_embd=8, n_head=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"cannot be used: config\.json is of a 'gpt2' model; needed is a network for"):
        open_vision(str(tmp_path))


def test_a_folder_that_is_not_there_names_what_there_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="Known by name: efficientnet_lite0, efficientnet_lite1"):
        open_vision(str(tmp_path / "gone"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        open_vision(str(tmp_path / "empty"))


@pytest.mark.parametrize("saved", ["resnet"], indirect=True)
def test_weights_that_are_cut_short_are_refused(saved):
    _, _, folder = saved
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(ValueError, match="the weights cannot be opened"):
        open_vision(str(folder))


@pytest.mark.parametrize("saved", ["resnet"], indirect=True)
def test_adapters_beside_the_weights_are_refused(saved):
    _, _, folder = saved
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="the folder holds adapters beside its weights"):
        open_vision(str(folder))


@pytest.mark.parametrize("saved", ["resnet"], indirect=True)
def test_named_weights_are_found_again_or_refused(saved, tmp_path):
    _, model, folder = saved
    description = open_vision(str(folder), named=True).description
    assert description["named"]
    assert load_named(description, tmp_path).out_channels == 20
    with torch.no_grad():
        model.embedder.embedder.convolution.weight[0, 0, 0, 0] += 1
    model.save_pretrained(folder)
    with pytest.raises(ValueError, match=r"was trained with other weights of the vision network .*bring those back"):
        load_named(description, tmp_path)
    (folder / "config.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(FileNotFoundError, match="the weights of its vision network are not in it"):
        load_named(description, tmp_path)


def test_a_folder_without_a_preprocessor_s_file_has_its_network_s_size(tmp_path):
    config = AutoConfig.for_model("dinov2", **NETWORKS["dinov2"][1])
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    description = open_vision(str(tmp_path)).description
    assert description["size"] == 70
    assert description["mean"] == [0.485, 0.456, 0.406]
    assert read_json(tmp_path / "config.json")["image_size"] == 70


@pytest.mark.parametrize("saved", ["resnet", "dinov2"], indirect=True)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_another_number_format_become_float32(saved, dtype):
    kind, model, folder = saved
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    opened = open_vision(str(folder))
    built = build_vision(opened.description)
    assert {p.dtype for network in (opened.network, built) for p in network.parameters()} == {torch.float32}
    built.load_state_dict(opened.network.state_dict())
    assert built.eval()(torch.zeros(1, 3, SIDES[kind], SIDES[kind])).dtype == torch.float32


def test_a_vit_stretches_its_positions_and_its_size_may_be_a_list(tmp_path):
    config = AutoConfig.for_model("vit", **TOWER | {"image_size": [64, 64], "patch_size": 16})
    transformers.ViTModel(config).save_pretrained(tmp_path)
    opened = open_vision(str(tmp_path))
    assert (opened.description["size"], opened.description["stride"], opened.network.multiple) == (64, 16, 16)
    with torch.no_grad():
        assert opened.network(torch.zeros(1, 3, 96, 96)).shape == (1, 24, 6, 6)


def test_code_in_a_folder_is_not_executed(tmp_path):
    write_json(tmp_path / "config.json", {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}})
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="cannot be used: "):
        open_vision(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("saved", ["resnet"], indirect=True)
def test_pictures_are_made_as_either_file_of_the_folder_says(saved):
    _, _, folder = saved
    own = folder / "preprocessor_config.json"
    own.unlink()
    write_json(folder / "processor_config.json", {"image_processor": {"image_mean": [0.1] * 3, "size": {"height": 64}}})
    assert open_vision(str(folder)).description["mean"] == [0.1] * 3
    write_json(own, {"do_normalize": False})
    description = open_vision(str(folder)).description
    assert (description["mean"], description["std"]) == ([0.0] * 3, [1.0] * 3)
    for wrong in ({"do_flip_channel_order": True}, {"rescale_factor": 1.0}):
        write_json(own, wrong)
        with pytest.raises(ValueError, match="not supported|only 1/255"):
            open_vision(str(folder))


@pytest.mark.parametrize("saved", ["resnet"], indirect=True)
def test_a_folder_is_named_by_its_whole_path(saved, monkeypatch):
    _, _, folder = saved
    monkeypatch.chdir(folder.parent)
    assert open_vision("network").description["source"] == str(folder)
