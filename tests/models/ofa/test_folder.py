from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from models.ofa import PRESETS, OFAConfig, OFAForConditionalGeneration, OFATokenizer, load_ofa, save_ofa
from preprocessors.text.bpe import train_bpe

TINY = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 40, "decoder_ffn_dim": 44}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    scratch = tmp_path_factory.mktemp("model")
    train_bpe(["a red circle above a blue square", "a dog in the snow"], scratch / "bpe", 300)
    tokenizer = OFATokenizer.from_pretrained(scratch / "bpe", num_codes=5, num_bins=2, style_tokens=["<style_0>"])
    torch.manual_seed(0)
    config = OFAConfig(**PRESETS["nano"] | TINY | {"vocab_size": len(tokenizer), "resnet_width": 4})
    model = OFAForConditionalGeneration(config).eval()
    return save_ofa(scratch / "saved", model, tokenizer, configuration={"patch_image_size": 64})


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def _logits(model: OFAForConditionalGeneration) -> torch.Tensor:
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(
            input_ids=torch.tensor([[0, 9, 2]]), patch_images=pixels, decoder_input_ids=torch.tensor([[0, 7]])
        ).logits


def test_saved_folder_opens_with_the_same_logits_and_vocabulary(folder):
    model, tokenizer = load_ofa(folder)
    again, _ = load_ofa(save_ofa(folder.parent / "again", model, tokenizer))
    assert torch.equal(_logits(model), _logits(again))
    assert (tokenizer.num_codes, tokenizer.num_bins, tokenizer.style_tokens) == (5, 2, ["<style_0>"])
    assert tokenizer.encode_text(" <code_4><style_0>")[-2:] == [tokenizer.text_vocab_size + 4, len(tokenizer) - 1]
    assert model.config.text_vocab_size == tokenizer.text_vocab_size


def test_safetensors_folder_of_save_pretrained_opens_too(folder, tmp_path):
    model, tokenizer = load_ofa(folder)
    model.save_pretrained(tmp_path / "ours")
    tokenizer.save_to_dir(tmp_path / "ours")
    assert (tmp_path / "ours/model.safetensors").is_file()
    reopened, _ = load_ofa(tmp_path / "ours")
    assert torch.equal(_logits(model), _logits(reopened))


def test_hub_id_loads_through_snapshot_download(folder, monkeypatch):
    import modelscope

    asked = []

    def fake_download(name, revision=None):
        asked.append((name, revision))
        return str(folder)

    monkeypatch.setattr(modelscope, "snapshot_download", fake_download)
    model, _ = load_ofa("damo/ofa_image-caption_coco_tiny_en", revision="v1.0.1")
    assert asked == [("damo/ofa_image-caption_coco_tiny_en", "v1.0.1")]
    assert torch.equal(_logits(model), _logits(load_ofa(folder)[0]))


def test_configuration_json_is_what_modelscope_reads(folder):
    description = json.loads((folder / "configuration.json").read_bytes())
    assert description["task"] == "image-captioning"
    assert description["model"] | {"type": "ofa", "language": "en", "patch_image_size": 64} == description["model"]
    config = json.loads((folder / "config.json").read_bytes())
    assert config["model_type"] == "ofa"
    assert "dtype" not in config


@pytest.mark.parametrize("missing", [["vocab.json"], ["merges.txt"], ["config.json"], ["vocab.json", "merges.txt"]])
def test_folder_without_a_file_is_refused_naming_it(copy, missing):
    for name in missing:
        (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"copy is not a complete model folder: missing {', '.join(missing)}"):
        load_ofa(copy)


def test_folder_without_weights_is_refused(copy):
    (copy / "pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"missing model.safetensors or pytorch_model.bin"):
        load_ofa(copy)


def _edit_weights(copy: Path, edit) -> None:
    state = torch.load(copy / "pytorch_model.bin", weights_only=True)
    edit(state)
    torch.save(state, copy / "pytorch_model.bin")


def test_missing_checkpoint_key_is_refused_by_name(copy):
    _edit_weights(copy, lambda state: state.pop("decoder.layers.0.fc2.bias"))
    with pytest.raises(ValueError, match=r"copy: the checkpoint .*parameter decoder\.layers\.0\.fc2\.bias is missing"):
        load_ofa(copy)


def test_unknown_checkpoint_key_is_refused_by_name(copy):
    _edit_weights(copy, lambda state: state.update({"decoder.extra": torch.zeros(2)}))
    with pytest.raises(ValueError, match=r"decoder\.extra is not a parameter of the model"):
        load_ofa(copy)


def test_checkpoint_of_another_shape_is_refused_with_both_shapes(copy):
    _edit_weights(copy, lambda state: state.update({"encoder.image_proj.weight": torch.zeros(32, 3)}))
    with pytest.raises(ValueError, match=r"encoder\.image_proj\.weight has shape \(32, 3\), .* \(32, 64\)"):
        load_ofa(copy)


def test_checkpoint_that_is_no_checkpoint_is_refused(copy):
    (copy / "pytorch_model.bin").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"copy: the weights cannot be opened"):
        load_ofa(copy)


def test_checkpoint_with_code_in_it_is_not_executed(copy, tmp_path):
    import pickle

    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "executed",))

    with (copy / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"encoder.layer_norm.weight": Payload()}, file)
    with pytest.raises(ValueError, match="cannot be opened"):
        load_ofa(copy)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("change", [9, -3])
def test_vocabulary_of_another_size_than_the_model_is_refused(copy, change):
    description = json.loads((copy / "tokenizer_config.json").read_bytes())
    (copy / "tokenizer_config.json").write_text(json.dumps(description | {"num_codes": 5 + change}))
    with pytest.raises(ValueError, match=r"tokenizer_config.json does not belong to these weights"):
        load_ofa(copy)


def test_projection_that_should_be_tied_but_differs_is_refused(copy):
    def untie(state):
        state["decoder.output_projection.weight"] = state["decoder.output_projection.weight"] + 1

    _edit_weights(copy, untie)
    with pytest.raises(ValueError, match=r"decoder\.output_projection\.weight differs from the embedding"):
        load_ofa(copy)


def test_older_code_tokens_are_where_the_published_vocabulary_has_them(shared):
    tokenizer = OFATokenizer.from_pretrained(shared / "data/ofa_bpe")
    golden = json.loads((shared / "golden/preprocess/tokenizer.json").read_bytes())
    assert len(tokenizer) == golden["vocab_size"] == 59457
    assert tokenizer.convert_tokens_to_ids("<code_0>") == golden["code_0"]
    assert tokenizer.convert_tokens_to_ids("<bin_0>") == golden["bin_0"]
    for text, ids in zip(golden["texts"], golden["ids"], strict=True):
        assert tokenizer.encode_text(text) == ids
        assert tokenizer.decode_caption([0, *ids, 2, 99]) == tokenizer.decode(ids).strip()
