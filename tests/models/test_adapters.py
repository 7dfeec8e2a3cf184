"""Adapters of weights in every family: hand arithmetic, what is trained, merging, peft's own view of the files."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models import open_captioner
from models.adapters import Adapters, AdapterShape, adapts
from models.captioner import NewModel
from models.ofa.captioner import OFACaptioner
from models.settings import Decoding
from tests.hf_folders import FAMILIES, WORDS, write_smolvlm

STYLES = {"<style_0>": "dog", "<style_1>": "snow"}
SHAPE = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 40, "decoder_ffn_dim": 44}
SHAPE |= {"encoder_attention_heads": 4, "decoder_attention_heads": 2, "resnet_width": 4, "resnet_layers": [1, 1, 1]}
LAYERS = {
    "ofa": "encoder.layers.1.self_attn.q_proj",
    "blip": "text_decoder.bert.encoder.layer.1.crossattention.self.value",
    "florence2": "model.language_model.decoder.layers.1.encoder_attn.q_proj",
    "smolvlm": "model.text_model.layers.1.self_attn.v_proj",
    "paligemma": "model.language_model.layers.1.self_attn.v_proj",
}
COUNTS = {"ofa": 12, "blip": 8, "florence2": 12, "smolvlm": 4, "paligemma": 4}
"""Queries and values of two layers: of an encoder, and twice of a decoder that attends to something."""


@dataclass(frozen=True)
class Case:
    family: str
    captioner: Any
    """With two style tokens."""
    folder: Path

    def batch(self) -> dict[str, Tensor]:
        tokenizer = self.captioner.tokenizer
        rows = [tokenizer.encode_text(f"a {token} reply") for token in STYLES]
        ids = [[tokenizer.bos_token_id, *row, tokenizer.eos_token_id] for row in rows]
        pictures = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))
        return {"input_ids": torch.tensor(ids), "patch_images": pictures}

    def captions(self) -> Tensor:
        a, b, c = self.captioner.tokenizer.encode_text(" a dog runs in the snow")[:3]
        return torch.tensor([[a, b, self.captioner.tokenizer.eos_token_id], [c, a, b]])


def _logits(captioner: Any, case: Case) -> Tensor:
    return captioner.logits(captioner.encode(case.batch()), case.captions())


@pytest.fixture(scope="module", params=["ofa", *FAMILIES])
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "ofa":
        OFACaptioner.new(NewModel("nano", SHAPE, WORDS, WORDS, bpe_size=300, num_codes=0, seed=3)).save(folder, None)
    else:
        FAMILIES[request.param].write(folder)
    captioner = open_captioner(folder)
    captioner.start_style_tokens(STYLES)
    return Case(request.param, captioner, folder)


@pytest.fixture
def case(opened: Case) -> Case:
    """With a model of its own."""
    captioner = copy.copy(opened.captioner)
    captioner.module = copy.deepcopy(opened.captioner.module)
    return Case(opened.family, captioner, opened.folder)


def _attach(case: Case, **shape: Any) -> Adapters:
    return Adapters(case.captioner, AdapterShape(**{"rank": 3, "alpha": 6.0} | shape), [*STYLES], base="base", seed=7)


def _learn(adapters: Adapters) -> None:
    """Other values for all that is trained, as if it had learnt."""
    draw = torch.Generator().manual_seed(2)
    for tensor in adapters.state().values():
        tensor.add_(torch.randn(tensor.shape, generator=draw) * 0.2)


@pytest.mark.parametrize("family", ["ofa", "smolvlm"])
def test_style_rows_of_a_projection_of_its_own_are_no_matter_of_chance(family, tmp_path):
    """Checkpoints of adapters do not hold them: a run that goes on would have others."""
    if family == "ofa":
        shape = SHAPE | {"share_decoder_input_output_embed": False}
        OFACaptioner.new(NewModel("nano", shape, WORDS, WORDS, bpe_size=300, num_codes=0, seed=3)).save(tmp_path, None)
    else:
        write_smolvlm(tmp_path, tied=False)
    states = []
    for seed in (1, 2):
        captioner = open_captioner(tmp_path)
        embedding, projection = captioner.parts()["embeddings"]
        assert projection.weight is not embedding.weight
        torch.manual_seed(seed)
        captioner.start_style_tokens(STYLES)
        states.append(captioner.module.state_dict())
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    embedding, projection = captioner.parts()["embeddings"]
    for token, name in STYLES.items():
        (row,), sub_words = captioner.tokenizer.encode_text(token), captioner.tokenizer.encode_text(f" {name.lower()}")
        for table in (embedding.weight, projection.weight):
            torch.testing.assert_close(table[row], table[sub_words].mean(0))


def test_adapted_layer_adds_its_product_by_hand():
    class Alone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.table = nn.Linear(2, 2), nn.Embedding(1, 1)

    class Captioner:
        lora_targets, module = "layer", Alone()

        def parts(self) -> dict[str, list[nn.Module]]:
            return {"embeddings": [self.module.table]}

    captioner = Captioner()
    layer = captioner.module.layer
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        layer.bias.copy_(torch.tensor([0.5, -0.5]))
    adapters = Adapters(captioner, AdapterShape(rank=1, alpha=3.0), [], base="", seed=0)
    a, b = adapters.state().values()
    assert (a.shape, b.shape) == ((1, 2), (2, 1))
    assert not b.any()
    a.copy_(torch.tensor([[1.0, 2.0]]))
    b.copy_(torch.tensor([[1.0], [-1.0]]))
    given = torch.tensor([[1.0, 1.0]])
    # W x + bias = (1.5, 1.5); A x = 3; B A x = (3, -3); times alpha / rank = 3: (9, -9).
    assert captioner.module.layer(given).tolist() == [[10.5, -7.5]]
    adapters.merge()
    # W + 3 B A = [[1 + 3, 0 + 6], [0 - 3, 2 - 6]]
    assert captioner.module.layer is layer
    assert layer.weight.tolist() == [[4.0, 6.0], [-3.0, -4.0]]
    assert captioner.module.layer(given).tolist() == [[10.5, -7.5]]


def test_new_adapters_change_nothing_and_own_targets_are_queries_and_values(case):
    before = _logits(case.captioner, case)
    adapters = _attach(case)
    assert torch.allclose(_logits(case.captioner, case), before, atol=1e-6)
    assert LAYERS[case.family] in adapters.layers
    assert len(adapters.layers) == COUNTS[case.family]
    assert not adapts(case.captioner, "vision", None)


def test_only_adapters_and_style_rows_get_gradients(case):
    adapters = _attach(case)
    _learn(adapters)
    case.captioner.module.train()
    through = case.captioner.through(case.captioner.module)
    logits = _logits(through, case)
    logits.log_softmax(-1)[..., 5].sum().backward()
    got = {name for name, parameter in case.captioner.module.named_parameters() if parameter.grad is not None}
    trained = {name for name, parameter in case.captioner.module.named_parameters() if parameter.requires_grad}
    assert got == trained
    assert len(trained) == 2 * COUNTS[case.family] + 1
    (rows,) = [p for name, p in case.captioner.module.named_parameters() if "trainable_tokens" in name]
    assert rows.shape[0] == len(STYLES)
    assert rows.grad.abs().sum(1).gt(0).all()


def test_merged_model_equals_the_unmerged_one_and_keeps_other_rows_and_ties(case):
    captioner = case.captioner
    old = {name: tensor.clone() for name, tensor in captioner.module.state_dict().items()}
    embedding = captioner.parts()["embeddings"][0]
    adapters = _attach(case)
    _learn(adapters)
    with torch.no_grad():
        unmerged = _logits(captioner, case)
        decoding = Decoding(num_beams=2, max_length=6)
        drawn = captioner.beams(captioner.encode(case.batch()), decoding)
        adapters.merge()
        merged = _logits(captioner, case)
        assert torch.equal(captioner.beams(captioner.encode(case.batch()), decoding), drawn)
    assert (merged - unmerged).abs().max() < 1e-5
    changed = {name for name, tensor in captioner.module.state_dict().items() if not torch.equal(tensor, old[name])}
    assert captioner.module.state_dict().keys() == old.keys()
    assert captioner.parts()["embeddings"][0] is embedding
    own = embedding.weight.data_ptr()
    tied = {name for name, tensor in captioner.module.state_dict().items() if tensor.data_ptr() == own}
    assert len(tied) >= 2
    assert changed == {f"{name}.weight" for name in adapters.layers} | tied
    ids = [captioner.tokenizer.encode_text(token)[0] for token in STYLES]
    is_old = torch.ones(len(embedding.weight), dtype=torch.bool)
    is_old[ids] = False
    before = old[min(tied)]
    assert torch.equal(embedding.weight[is_old], before[is_old])
    assert not torch.isclose(embedding.weight[ids], before[ids]).all(1).any()


def test_copy_of_a_captioner_with_adapters_says_the_same_and_is_its_own(case):
    adapters = _attach(case)
    _learn(adapters)
    with torch.no_grad():
        copied, before = case.captioner.frozen_copy(), _logits(case.captioner, case)
        _learn(adapters)
        assert torch.equal(_logits(copied, case), before)
        assert not torch.allclose(_logits(case.captioner, case), before)


def test_saved_adapters_come_back_and_merged_model_is_opened_without_them(case, tmp_path):
    adapters = _attach(case)
    _learn(adapters)
    adapters.save(tmp_path / "adapter")
    content = {name: tensor.clone() for name, tensor in adapters.state().items()}
    _learn(adapters)
    adapters.load(tmp_path / "adapter")
    assert all(torch.equal(tensor, content[name]) for name, tensor in adapters.state().items())
    with torch.no_grad():
        unmerged = _logits(case.captioner, case)
        adapters.merge()
        adapters.save(tmp_path / "later")
        case.captioner.save(tmp_path / "whole", None)
        again = open_captioner(tmp_path / "whole")
        assert (_logits(again, case) - unmerged).abs().max() < 1e-5
    first, later = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("adapter", "later"))
    assert all(torch.equal(tensor, later[name]) for name, tensor in first.items())
    assert not any("lora" in name or "base_layer" in name for name in again.module.state_dict())


def test_peft_itself_opens_the_folder_beside_the_class_of_transformers(case, tmp_path):
    """And merges it: unmerged, its stand-in for a tied head leaves the bias of BLIP's out."""
    if case.family == "ofa":
        pytest.skip("OFA is no class of transformers")
    from peft import PeftModel

    adapters = _attach(case)
    _learn(adapters)
    adapters.save(tmp_path)
    family = case.captioner.family
    own = getattr(transformers, family.class_name).from_pretrained(case.folder)
    family.text_model(own).resize_token_embeddings(len(case.captioner.tokenizer), mean_resizing=False)
    PeftModel.from_pretrained(own, tmp_path).merge_and_unload()
    adapters.merge()
    theirs = own.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in case.captioner.module.state_dict().items())


@pytest.mark.parametrize(("kind", "error"), [("int8", 0.02), ("nf4", 0.3)])
def test_weights_in_few_bits_stay_near_and_the_merged_model_has_the_original_ones(case, kind, error):
    pytest.importorskip("bitsandbytes", reason="bash scripts/setup.sh --quantize was not run")
    if kind == "nf4" and not torch.cuda.is_available():
        pytest.skip("no CUDA, and bitsandbytes' kernels for CPUs take no layers as narrow as these")
    captioner = case.captioner
    shape = AdapterShape(3, 6.0)
    whole = copy.copy(captioner)
    whole.module = copy.deepcopy(captioner.module)
    expected = Adapters(whole, shape, [*STYLES], base="", seed=7)
    _learn(expected)
    adapters = Adapters(captioner, shape, [*STYLES], base="", seed=7, quantize=kind)
    captioner.module.to("cuda" if torch.cuda.is_available() else "cpu")
    layer = captioner.module.get_submodule(LAYERS[case.family]).get_base_layer()
    assert layer.weight.dtype == {"int8": torch.int8, "nf4": torch.uint8}[kind]
    _learn(adapters)
    with torch.no_grad():
        exact = whole.module.get_submodule(LAYERS[case.family])
        given = torch.randn(5, exact.in_features, device=captioner.device)
        near = captioner.module.get_submodule(LAYERS[case.family])(given)
        assert 0 < (near.cpu() - exact(given.cpu())).norm() / exact(given.cpu()).norm() < error
    through = captioner.through(captioner.module)
    _logits(through, case).log_softmax(-1)[..., 5].sum().backward()
    assert all(p.grad is not None for p in captioner.module.parameters() if p.requires_grad)
    adapters.merge()
    expected.merge()
    ours, theirs = captioner.module.state_dict(), whole.module.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(tensor.cpu(), theirs[name], atol=1e-6) for name, tensor in ours.items())


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ("q_proj", r"lora\.targets='q_proj': matches the whole name of no layer; there are \d+ linear ones, such as "),
        (r"encoder\.layers\.0", r"matches encoder\.layers\.0, a OFAEncoderLayer \(1 such\); only linear layers"),
        (r"decoder\.output_projection", "the projection onto the vocabulary, whose weights are the embedding's"),
        (r"encoder\.embed_tokens", "a Embedding"),
    ],
)
def test_targets_that_cannot_be_adapted_are_refused(tiny_ofa, targets, message):
    captioner = OFACaptioner(tiny_ofa(3), None)
    names = [name for name, _ in captioner.module.named_modules()]
    with pytest.raises(ValueError, match=message):
        Adapters(captioner, AdapterShape(2, 2.0, targets=targets), [], base="", seed=0)
    assert [name for name, _ in captioner.module.named_modules()] == names


def test_missing_library_is_named_with_the_command_that_installs_it(tiny_ofa, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"lora\.rank=2: adapters need peft, .* bash scripts/setup\.sh --lora"):
        Adapters(OFACaptioner(tiny_ofa(3), None), AdapterShape(2, 2.0), [], base="", seed=0)


def test_missing_library_of_few_bits_is_named_too(tiny_ofa, monkeypatch):
    monkeypatch.setattr("models.quantized.importlib.util.find_spec", lambda name: None if "bits" in name else True)
    with pytest.raises(ValueError, match=r"lora\.quantize=nf4: needs bitsandbytes, .* scripts/setup\.sh --quantize"):
        Adapters(OFACaptioner(tiny_ofa(3), None), AdapterShape(2, 2.0), [], base="", seed=0, quantize="nf4")


def test_captioner_that_names_no_layers_needs_an_expression(tiny_ofa, monkeypatch):
    captioner = OFACaptioner(tiny_ofa(3), None)
    monkeypatch.delattr(OFACaptioner, "lora_targets")
    with pytest.raises(ValueError, match=r"lora\.targets: OFACaptioner does not say which of its layers to adapt"):
        Adapters(captioner, AdapterShape(2, 2.0), [], base="", seed=0)


def test_adapters_of_another_rank_are_refused_by_name(tiny_ofa, tmp_path):
    made = [Adapters(OFACaptioner(tiny_ofa(3), None), AdapterShape(r, 2.0), [], base="", seed=0) for r in (2, 4)]
    made[0].save(tmp_path)
    with pytest.raises(ValueError, match=r"than this run: .*lora_A\.weight is \(2, 32\) there and \(4, 32\)"):
        made[1].load(tmp_path)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    weights.pop(min(weights))
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"is absent there and"):
        made[0].load(tmp_path)


def test_folder_of_adapters_alone_says_what_it_belongs_to(tiny_ofa, tmp_path):
    Adapters(OFACaptioner(tiny_ofa(3), None), AdapterShape(2, 2.0), [], base="my/base", seed=0).save(tmp_path)
    with pytest.raises(ValueError, match=r"holds adapters \(LoRA\) and not the model that they belong to, 'my/base'"):
        open_captioner(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["r"], config["peft_type"], config["target_modules"]) == (2, "LORA", OFACaptioner.lora_targets)
