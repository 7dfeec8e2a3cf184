"""The embedding that prompt, caption and output projection share, and its gradient."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from models.ofa import PRESETS, OFAConfig, OFAForConditionalGeneration

VOCABULARY, WIDTH = 9999, 128


def _model() -> OFAForConditionalGeneration:
    torch.manual_seed(0)
    return OFAForConditionalGeneration(OFAConfig(**PRESETS["nano"] | {"vocab_size": VOCABULARY}))


def _backward(model: OFAForConditionalGeneration) -> None:
    torch.manual_seed(1)  # dropout
    inputs = {"input_ids": torch.tensor([[0, 7, 7, 2], [0, 8, 2, 1]]), "patch_images": torch.ones(2, 3, 32, 32)}
    encoded = model(**inputs, encode_only=True).encoder_outputs
    model(encoder_outputs=encoded, labels=torch.tensor([[7, 9, 2], [8, 8, 2]])).loss.backward()


def test_tied_embedding_gradient_is_the_sum_over_its_three_uses(monkeypatch):
    model = _model()
    _backward(model)
    late = model.get_input_embeddings().weight.grad
    model.zero_grad()
    monkeypatch.setattr(OFAForConditionalGeneration, "projection_is_tied", False)  # autograd's own dense sum
    _backward(model)
    torch.testing.assert_close(late, model.get_input_embeddings().weight.grad)


def test_tied_embedding_gradient_is_never_copied():
    model = _model()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        _backward(model)
    shapes = {event.name: [] for event in recorded.events()}
    for event in recorded.events():
        shapes[event.name].append(event.input_shapes)
    whole = [VOCABULARY, WIDTH]
    assert any(whole in given for given in shapes["aten::add_"])  # where the sparse gradients are added
    assert not any(whole in given for given in shapes["aten::copy_"])
