"""A loss beside cross-entropy is one function, one entry, and the setting that weighs it."""

from __future__ import annotations

import pytest
import torch

from pipeline.objective import term_weights
from pipeline.train import train
from trainers.losses.table import LOSS_TERMS, LossTerm
from utils.io import read_jsonl


def confidence(logits: torch.Tensor, labels: torch.Tensor, foreign: torch.Tensor | None) -> torch.Tensor:
    """Minus the entropy at the counted positions, nats."""
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1)[labels.ne(-100)].sum()


def test_new_term_is_weighed_by_its_setting_logged_and_trained(monkeypatch, tiny_document, tmp_path, load):
    monkeypatch.setitem(LOSS_TERMS, "confidence", LossTerm("Confidence", "unlikelihood.repetition", confidence))
    losses = {}
    for weight in (0.0, 0.5):
        tiny_document["unlikelihood"] = {"repetition": weight}
        tiny_document["train"]["epochs"] = 1
        tiny_document["work_dir"] = str(tmp_path / f"run{weight}")
        config = load(tiny_document)
        assert ("confidence" in term_weights(config)) == (weight > 0)
        train(config, ["finetune.py"], tmp_path / "conf.json")
        losses[weight] = [row for _, row in read_jsonl(config.work_dir / "metrics.jsonl") if "train/loss" in row]
    assert not any("train/confidence" in row for row in losses[0.0])
    first, plain = losses[0.5][0], losses[0.0][0]
    assert first["train/confidence"] < -1  # an untrained model is unsure: the entropy is near log V
    other = first["train/confidence"] + first["train/unlikelihood_repetition"]
    assert first["train/loss"] == pytest.approx(plain["train/loss"] + 0.5 * other, rel=1e-5)


def test_every_term_names_a_setting_that_is_off_by_default(tiny_document, load):
    assert term_weights(load(tiny_document)) == {}
    tiny_document["unlikelihood"] = {"repetition": 0.25, "leakage": 0.5}
    assert term_weights(load(tiny_document)) == {"unlikelihood_repetition": 0.25, "unlikelihood_leakage": 0.5}


def test_leakage_without_the_tokens_of_other_styles_is_refused():
    with pytest.raises(ValueError, match="needs the tokens of other styles"):
        LOSS_TERMS["unlikelihood_leakage"].compute(torch.zeros(1, 1, 2), torch.zeros(1, 1).long(), None)
