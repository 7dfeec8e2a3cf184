from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest
import torch

from models.ofa import OFAConfig, OFAForConditionalGeneration

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def _load_cases() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ofa_options", GOLDEN / "ofa_options.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cases = _load_cases()
RECORDED = json.loads((GOLDEN / "ofa_options.json").read_bytes())["cases"]


def _assert_close(ours: torch.Tensor, recorded: list, tolerance: float) -> None:
    expected = torch.tensor(recorded)
    assert ours.shape == expected.shape
    assert ((ours - expected).abs().max() / expected.abs().max()).item() < tolerance


@pytest.mark.parametrize("name", cases.CASES)
def test_ofa_option_gives_what_the_reference_gives(name):
    case, recorded = cases.CASES[name], RECORDED[name]
    model = OFAForConditionalGeneration(OFAConfig(**cases.BASE | case["config"])).eval()
    missing, unexpected = model.load_state_dict(cases.fill_weights(model.state_dict()), strict=False)
    assert not unexpected
    assert all(key.endswith(("rp_bucket", "image_position_idx", "num_batches_tracked")) for key in missing)
    output = model(**cases.make_inputs(case))
    with torch.no_grad():
        _assert_close(output.encoder_last_hidden_state[:, ::5, :6], recorded["encoder"], 1e-4)
        _assert_close(output.logits[:, :, :12], recorded["logits"], 1e-4)
        assert output.encoder_last_hidden_state.norm().item() == pytest.approx(recorded["encoder_norm"], rel=1e-4)
        assert output.logits.norm().item() == pytest.approx(recorded["logits_norm"], rel=1e-4)
    ours = cases.gradient_norms(model, output.logits)
    assert ours.keys() == recorded["gradient_norms"].keys()
    for parameter, norm in recorded["gradient_norms"].items():
        assert ours[parameter] == pytest.approx(norm, rel=1e-3, abs=1e-6), parameter


@pytest.mark.parametrize("name", cases.CASES)
def test_ofa_option_without_gradients_gives_the_same_logits(name):
    """The fast attention kernel and the one for training are different code."""
    case = cases.CASES[name]
    model = OFAForConditionalGeneration(OFAConfig(**cases.BASE | case["config"])).eval()
    model.load_state_dict(cases.fill_weights(model.state_dict()), strict=False)
    trained = model(**cases.make_inputs(case)).logits.detach()
    with torch.no_grad():
        torch.testing.assert_close(model(**cases.make_inputs(case)).logits, trained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("use_ofasys", True),
        ("entangle_position_embedding", True),
        ("use_gamma_feature", True),
        ("encoder_layerdrop", 0.1),
        ("use_image_feature", False),
        ("exclude_mlp", False),
        ("resnet_type", "resnet200"),
        ("decoder_attention_heads", 5),
        ("tie_word_embeddings", False),
        ("activation_function", "nothing"),
        ("attention_dropout", 1.0),
        ("d_model", -8),
    ],
)
def test_ofa_config_unsupported_option_is_refused_by_name(option, value):
    with pytest.raises(ValueError, match=option):
        OFAConfig(**cases.BASE | {option: value})


def test_ofa_image_larger_than_the_position_table_is_refused():
    model = OFAForConditionalGeneration(OFAConfig(**cases.BASE)).eval()
    with pytest.raises(ValueError, match=r"10 x 2 patches does not fit image_bucket_size=9"):
        model(
            input_ids=torch.tensor([[0, 5, 2]]),
            patch_images=torch.zeros(1, 3, 160, 32),
            decoder_input_ids=torch.tensor([[0]]),
        )


def test_ofa_prompt_longer_than_the_position_table_is_refused():
    model = OFAForConditionalGeneration(OFAConfig(**cases.BASE)).eval()
    with pytest.raises(ValueError, match=r"the prompt has 41 tokens; max_position_embeddings=40"):
        model(input_ids=torch.full((1, 41), 5), decoder_input_ids=torch.tensor([[0]]))
