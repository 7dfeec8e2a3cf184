from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from models.ofa import OFAConfig, OFAForConditionalGeneration, save_ofa
from models.ofa.tokenization_ofa import OFATokenizer
from trainers.losses.cross_entropy import label_smoothed_cross_entropy

PAD = 1


@pytest.fixture(scope="module")
def golden(shared) -> dict[str, Any]:
    folder = shared / "golden/ofa/small"
    return {
        "folder": folder,
        "inputs": load_file(folder / "inputs.safetensors"),
        "outputs": load_file(folder / "outputs.safetensors"),
        "scalars": json.loads((folder / "scalars.json").read_bytes()),
    }


@pytest.fixture(scope="module")
def model(golden) -> OFAForConditionalGeneration:
    opened, info = OFAForConditionalGeneration.from_pretrained(golden["folder"], output_loading_info=True)
    assert not any(info.values())
    return opened.eval()


def _net_input(golden: dict[str, Any]) -> dict[str, torch.Tensor]:
    return {key: golden["inputs"][key] for key in ("input_ids", "patch_images", "patch_masks", "decoder_input_ids")}


def _labels(golden: dict[str, Any]) -> torch.Tensor:
    target = golden["inputs"]["target"]
    return target.masked_fill(target.eq(PAD), -100)


def _relative(ours: torch.Tensor, expected: torch.Tensor) -> float:
    assert ours.shape == expected.shape
    return ((ours - expected).abs().max() / expected.abs().max()).item()


def test_resnet_features_equal_the_golden(model, golden):
    with torch.no_grad():
        features = model.encoder.embed_images(golden["inputs"]["patch_images"])
    assert _relative(features, golden["outputs"]["resnet_features"]) < 1e-4


def test_encoder_states_and_positions_equal_the_golden(model, golden):
    inputs = _net_input(golden)
    inputs.pop("decoder_input_ids")
    with torch.no_grad():
        encoded = model.encoder(**inputs)
    assert _relative(encoded.last_hidden_state, golden["outputs"]["encoder_last_hidden_state"]) < 1e-4
    assert torch.equal(encoded.padding_mask, golden["outputs"]["encoder_padding_mask"].bool())
    positions = encoded.position_embedding.expand(3, -1, -1)
    assert _relative(positions, golden["outputs"]["encoder_position_embedding"]) < 1e-4


def test_logits_equal_the_golden(model, golden):
    with torch.no_grad():
        logits = model(**_net_input(golden)).logits
    counted = golden["inputs"]["target"].ne(PAD)
    assert _relative(logits[counted], golden["outputs"]["logits"][counted]) < 1e-4


@pytest.mark.parametrize(
    ("name", "label_smoothing", "drop_worst"),
    [("xe", 0.0, 0.0), ("xe_ls0.1", 0.1, 0.0), ("xe_ls0.1_drop_worst0.25", 0.1, 0.25)],
)
def test_cross_entropy_equals_the_golden(model, golden, name, label_smoothing, drop_worst):
    with torch.no_grad():
        logits = model(**_net_input(golden)).logits
    entropy = label_smoothed_cross_entropy(logits, _labels(golden), label_smoothing, drop_worst)
    scalars = golden["scalars"]
    assert (entropy.loss / entropy.tokens).item() == pytest.approx(scalars[name], rel=1e-5)
    assert (entropy.nll / entropy.tokens).item() == pytest.approx(scalars[f"{name}_nll"], rel=1e-5)


def test_forward_with_labels_gives_the_plain_cross_entropy(model, golden):
    with torch.no_grad():
        loss = model(**_net_input(golden), labels=golden["inputs"]["target"]).loss
    assert loss.item() == pytest.approx(golden["scalars"]["xe"], rel=1e-5)


def test_gradient_norms_equal_the_golden(model, golden):
    model.zero_grad()
    entropy = label_smoothed_cross_entropy(model(**_net_input(golden)).logits, _labels(golden), 0.1)
    (entropy.loss / entropy.tokens).backward()
    parameters = dict(model.named_parameters())
    for name, norm in golden["scalars"]["grad_norms_xe_ls0.1"].items():
        gradient = parameters[name].grad
        ours = 0.0 if gradient is None else gradient.norm().item()
        # The bias of a key shifts all scores of a query alike: its gradient is zero but for rounding.
        assert ours == pytest.approx(norm, rel=1e-3, abs=1e-7), name


def _generate(model: OFAForConditionalGeneration, golden: dict[str, Any], num_beams: int) -> Any:
    inputs = _net_input(golden)
    return model.generate(
        input_ids=inputs["input_ids"],
        patch_images=inputs["patch_images"],
        patch_masks=torch.ones(3, dtype=torch.bool),
        num_beams=num_beams,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
    )


def test_beam_5_top_hypotheses_and_scores_equal_the_golden(model, golden):
    generated = _generate(model, golden, 5)
    for sample, hypotheses in enumerate(golden["scalars"]["beam5"]):
        tokens = hypotheses[0]["tokens"]
        assert generated.sequences[sample, 1 : 1 + len(tokens)].tolist() == tokens
        assert generated.sequences_scores[sample].item() == pytest.approx(hypotheses[0]["score"], abs=1e-3)


def test_beam_5_all_hypotheses_equal_the_golden(model, golden):
    inputs = _net_input(golden)
    sequences = model.generate(
        input_ids=inputs["input_ids"],
        patch_images=inputs["patch_images"],
        patch_masks=torch.ones(3, dtype=torch.bool),
        num_beams=5,
        num_return_sequences=5,
    )
    expected = [hypothesis["tokens"] for sample in golden["scalars"]["beam5"] for hypothesis in sample]
    assert [row[1 : 1 + len(tokens)] for row, tokens in zip(sequences.tolist(), expected, strict=True)] == expected


def test_greedy_hypotheses_and_scores_equal_the_golden(model, golden):
    generated = _generate(model, golden, 1)
    log_probs = torch.stack(generated.logits, 1).log_softmax(-1)
    for sample, (hypothesis,) in enumerate(golden["scalars"]["beam1"]):
        tokens = torch.tensor(hypothesis["tokens"])
        length = len(tokens)
        assert generated.sequences[sample, 1 : 1 + length].tolist() == tokens.tolist()
        score = log_probs[sample, :length].gather(1, tokens[:, None]).mean().item()
        assert score == pytest.approx(hypothesis["score"], abs=1e-3)


@pytest.mark.parametrize("size", ["tiny", "medium", "base", "large"])
def test_published_keys_load_with_none_missing_and_none_unexpected(shared, size):
    published = json.loads((shared / "golden/ofa/checkpoint_keys.json").read_bytes())[size]
    with torch.device("meta"):
        model = OFAForConditionalGeneration(OFAConfig(**published["config"]))
    checkpoint = {key: torch.empty(shape, device="meta") for key, shape in published["state_dict"].items()}
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == published["state_dict"]
    assert sum(parameter.numel() for parameter in model.parameters()) == published["parameters"]
    model.load_state_dict(checkpoint, strict=True, assign=True)


def test_saved_modelscope_folder_has_the_published_keys_and_shapes(shared, tmp_path):
    published = json.loads((shared / "golden/ofa/checkpoint_keys.json").read_bytes())["tiny"]
    model = OFAForConditionalGeneration(OFAConfig(**published["config"]))
    folder = save_ofa(tmp_path / "model", model, OFATokenizer.from_pretrained(shared / "data/ofa_bpe"))
    saved = torch.load(folder / "pytorch_model.bin", weights_only=True)
    assert {key: list(tensor.shape) for key, tensor in saved.items()} == published["state_dict"]
    files = {path.name for path in Path(folder).iterdir()}
    assert {"config.json", "configuration.json", "vocab.json", "merges.txt"} <= files
    for name in ("vocab.json", "merges.txt"):
        ours, theirs = (path.read_text("utf-8") for path in (folder / name, shared / "data/ofa_bpe" / name))
        assert (json.loads(ours) == json.loads(theirs)) if name.endswith("json") else (ours == theirs)
