from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BertConfig, BertModel, MambaConfig, MambaForCausalLM

from models.style_lm import StyleLM
from preprocessors.documents.folders import open_text_tokenizer
from preprocessors.text.bpe import train_bpe
from preprocessors.text.styles import StyleRegistry
from utils.errors import NoNumbers
from utils.io import write_json

TOKENS = torch.tensor([[0, 40, 50, 60, 2]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    scratch = tmp_path_factory.mktemp("lm")
    train_bpe(["a red circle above a blue square", "a dog in the snow"], scratch / "bpe", 300)
    write_json(scratch / "bpe/tokenizer_config.json", {"bos_token": "<s>", "eos_token": "</s>"})
    lm = StyleLM.new(open_text_tokenizer(scratch / "bpe"), StyleRegistry(["pirate"]), positions=32, seed=4)
    lm.save_to_dir(scratch / "saved")
    return scratch / "saved"


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """Without its seal, which would tell every change before anybody looks at what was changed."""
    copied = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copied / "MANIFEST.json").unlink()
    return copied


def _logits(network) -> torch.Tensor:
    with torch.no_grad():
        return network(input_ids=TOKENS).logits


def test_saved_folder_opens_with_the_same_logits_styles_and_ids(folder, tmp_path):
    lm = StyleLM.load_from_dir(folder)
    lm.save_to_dir(tmp_path / "again")
    again = StyleLM.load_from_dir(tmp_path / "again")
    assert torch.equal(_logits(lm.network), _logits(again.network))
    assert again.registry.names == ("pirate", "neutral")
    assert again.tokenizer.digest() == lm.tokenizer.digest()
    assert again.positions == 32
    assert not again.network.training


def test_folder_that_was_changed_behind_its_seal_is_refused(folder, tmp_path):
    changed = Path(shutil.copytree(folder, tmp_path / "changed"))
    (changed / "styles.json").write_text("{}")
    with pytest.raises(ValueError, match=r"styles\.json"):
        StyleLM.load_from_dir(changed)


def test_transformers_opens_the_folder_with_the_same_logits_and_ids(folder):
    lm = StyleLM.load_from_dir(folder)
    assert torch.equal(_logits(AutoModelForCausalLM.from_pretrained(folder)), _logits(lm.network))
    theirs = AutoTokenizer.from_pretrained(folder)
    assert theirs("a red dog", add_special_tokens=False).input_ids == lm.tokenizer.encode_batch(["a red dog"])[0]
    assert (theirs.bos_token_id, theirs.eos_token_id) == (lm.tokenizer.bos_id, lm.tokenizer.eos_id)


def test_folder_without_styles_takes_any_words_for_a_code(copy):
    (copy / "styles.json").unlink()
    lm = StyleLM.load_from_dir(copy)
    assert lm.registry is None
    assert lm.tokenizer.decode(lm.prompt("a red dog")) == "a red dog\n"
    lm.save_to_dir(copy / "again")
    assert StyleLM.load_from_dir(copy / "again").registry is None


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_folder_without_a_part_is_refused(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json|no weights|no tokenizer"):
        StyleLM.load_from_dir(copy)


def test_damaged_and_other_models_are_refused_by_what_they_are(copy):
    config, weights = (copy / "config.json").read_text(), (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ValueError, match=r"weights cannot be opened: model\.safetensors"):
        StyleLM.load_from_dir(copy)
    (copy / "model.safetensors").write_bytes(weights)
    for wrong, message in [
        ('"n_layer": 3', "the weights lack"),
        ('"n_embd": 32', "no causal language model can be opened"),
        ('"n_embd": 99000000', "n_embd"),
    ]:
        key = wrong.split(":")[0]
        (copy / "config.json").write_text(config.replace(f"{key}: {64 if 'embd' in key else 2}", wrong))
        with pytest.raises(ValueError, match=message):
            StyleLM.load_from_dir(copy)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=300, **shape)).save_pretrained(copy)
    with pytest.raises(ValueError, match="the weights lack|no causal language model"):
        StyleLM.load_from_dir(copy)


def test_adapters_beside_the_weights_are_refused_before_the_library_adds_them(copy):
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"adapter_config\.json: the folder holds adapters beside its weights"):
        StyleLM.load_from_dir(copy)


def test_network_that_no_mask_reaches_is_refused(copy):
    """A recurrent one remembers the documents before, whatever the mask says."""
    config = MambaConfig(vocab_size=300, hidden_size=16, state_size=4, num_hidden_layers=1, use_mambapy=False)
    MambaForCausalLM(config).save_pretrained(copy)
    with pytest.raises(ValueError, match="cannot be told which documents|no causal language model"):
        StyleLM.load_from_dir(copy)


def test_tokenizer_of_another_model_is_refused(copy, tmp_path):
    lm = StyleLM.load_from_dir(copy)
    lm.network.resize_token_embeddings(280)
    lm.network.save_pretrained(copy)
    with pytest.raises(ValueError, match="the tokenizer has 295 entries and the network 280"):
        StyleLM.load_from_dir(copy)


def test_weights_that_are_no_numbers_are_refused(copy):
    lm = StyleLM.load_from_dir(copy)
    lm.network.transformer.ln_f.weight.data[0] = float("nan")
    lm.network.save_pretrained(copy)
    with pytest.raises(NoNumbers, match=r"NaN or infinite values in transformer\.ln_f\.weight"):
        StyleLM.load_from_dir(copy)
