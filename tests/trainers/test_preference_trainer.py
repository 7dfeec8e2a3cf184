"""Preference training: its loss against a plain one, its counting, its resumption, and that it learns."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from configuration.loading import RunConfig
from pipeline.prepare import prepare
from pipeline.train import _find_overlaps, train
from pipeline.training import build_trainer, training_arguments
from trainers.preference import rank
from trainers.rewards.terms import RewardRequest, Rewards
from utils.io import read_json, read_jsonl

# Terms that tell the captions of an untrained model apart, which CIDEr-D hardly does.
TOLD_APART = {"cider_d": 1.0, "length": 1.0, "repetition": 1.0}


@pytest.fixture
def pairs(scenes: Path, tmp_path: Path) -> Path:
    """People's captions are chosen, and the same words backwards rejected."""
    rows = [row for _, row in read_jsonl(scenes / "train.jsonl")]
    texts = [(row, row["captions"][0]) for row in rows]
    path = tmp_path / "pairs.jsonl"
    lines = [
        {"image": row["image"], "style": row["style"], "chosen": text, "rejected": " ".join(text.split()[::-1])}
        for row, text in texts
        if text.split() != text.split()[::-1]
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def drawn(tiny_document: dict[str, Any], start_model: Path) -> dict[str, Any]:
    """Configuration of a run on pairs of an untrained model's own captions."""
    return tiny_document | {
        "model": {"name": str(start_model)},
        "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3, "warmup": 0.0},
        "preference": {"enabled": True, "num_samples": 3, "beta": 0.7},
        "scst": {"rewards": TOLD_APART},
        "decode": {"num_beams": 2, "max_length": 8},
    }


@pytest.fixture
def given(drawn: dict[str, Any], pairs: Path) -> dict[str, Any]:
    """The same on pairs of a file."""
    return drawn | {"preference": {"enabled": True, "pairs": str(pairs), "beta": 0.7}}


def _trainer(config: RunConfig) -> Any:
    args = training_arguments(config)
    args.report_to = []
    trainer = build_trainer(args, prepare(config))
    trainer.current_gradient_accumulation_steps, trainer._micro_step = 1, 1
    return trainer


def _batch(trainer: Any, rows: range = range(5)) -> dict[str, torch.Tensor]:
    return dict(trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[row] for row in rows])))


def _loss(trainer: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return trainer.step_loss(trainer.model, dict(batch), torch.tensor([*trainer.count_tokens([batch])]))


def _gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def _move(model: torch.nn.Module) -> None:
    """So that the model is no longer what it began as."""
    torch.manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter) * parameter.requires_grad


def _log_p(model: torch.nn.Module, batch: dict[str, torch.Tensor], row: int, token_ids: torch.Tensor) -> torch.Tensor:
    token_ids = token_ids[token_ids.ne(-100)]
    inputs = {name: batch[name][row, None] for name in ("input_ids", "patch_images", "patch_masks")}
    prefix = torch.cat([torch.zeros(1, dtype=torch.int64), token_ids[:-1]])[None]
    logits = model(**inputs, decoder_input_ids=prefix).logits[0, :, : model.config.text_vocab_size]
    logits = logits.masked_fill(torch.arange(logits.shape[1]) == model.config.pad_token_id, -torch.inf)
    return logits.log_softmax(-1)[torch.arange(len(token_ids)), token_ids].sum()


def test_rank_takes_best_and_worst_and_drops_equal_rewards():
    token_ids = torch.arange(24).view(3, 4, 2)
    found = rank(token_ids, np.array([[0.5, 2.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0], [3.0, 0.0, 0.0, 1.0]]))
    assert found.kept.tolist() == [True, False, True]
    assert torch.equal(found.token_ids[0], token_ids[0, [1, 3]])
    assert torch.equal(found.token_ids[2], token_ids[2, [0, 1]])


def test_rank_drops_a_caption_that_is_better_than_itself():
    twice = torch.tensor([[[5, 6, 2], [5, 6, 2], [5, 6, 2]]])
    assert rank(twice, np.array([[0.5, 0.5 + 1e-12, 0.5]])).kept.tolist() == [False]


@pytest.mark.parametrize("loss", ["dpo", "simpo"])
def test_loss_of_given_pairs_equals_separate_passes_for_every_caption(given, load, assert_same, loss):
    given["preference"] |= {"loss": loss}
    trainer = _trainer(load(given))
    model, batch, frozen = trainer.model, _batch(trainer), trainer.pair_loss.frozen_policy
    _move(model)
    ours = _loss(trainer, batch)
    ours.backward()
    gradients, logged = _gradients(model), trainer.meter.drain()
    margins, total = [], torch.zeros(())
    for row, (chosen, rejected) in enumerate(batch["pair_labels"]):
        said = [_log_p(model, batch, row, ids) for ids in (chosen, rejected)]
        if loss == "dpo":
            with torch.no_grad():
                held = [_log_p(frozen.module, batch, row, ids) for ids in (chosen, rejected)]
            margin = 0.7 * ((said[0] - held[0]) - (said[1] - held[1]))
        else:
            margin = 0.7 * (said[0] / chosen.ne(-100).sum() - said[1] / rejected.ne(-100).sum())
        margins.append(margin.item())
        total = total + torch.log1p(torch.exp((0.0 if loss == "dpo" else 0.35) - margin)) / 5
    assert logged["preference"] == pytest.approx(total.item(), rel=1e-4)
    assert ours.item() == pytest.approx(total.item(), rel=1e-4)
    total.backward()
    assert_same(_gradients(model), gradients)
    assert logged["margin"] == pytest.approx(np.mean(margins), rel=1e-3, abs=1e-5)
    assert logged["margin_std"] == pytest.approx(np.std(margins), rel=1e-3, abs=1e-5)
    assert logged["pair_accuracy"] == np.mean([margin > 0 for margin in margins])
    lengths = batch["pair_labels"].ne(-100).sum(-1).double().mean(0).tolist()
    assert [logged["chosen_length"], logged["rejected_length"]] == pytest.approx(lengths)


def test_model_at_its_beginning_has_no_margins_under_dpo(drawn, given, load):
    for document in (drawn, given):
        trainer = _trainer(load(document))
        trainer.model.train()  # dropout is not to tell the model from what it is held to
        assert _loss(trainer, _batch(trainer)).item() == pytest.approx(math.log(2), abs=1e-5)
        assert trainer.meter.drain()["margin"] == pytest.approx(0.0, abs=1e-5)


def test_simpo_copies_no_model(given, load):
    given["preference"] |= {"loss": "simpo"}
    assert _trainer(load(given)).pair_loss.frozen_policy is None


@pytest.mark.parametrize("kind", ["drawn", "given"])
def test_cross_entropy_and_masked_captions_are_mixed_in_by_their_tokens(request, load, kind):
    document = request.getfixturevalue(kind) | {"masked_lm": {"weight": 0.25}}
    document["preference"] |= {"cross_entropy_weight": 0.5}
    trainer = _trainer(load(document))
    loss = _loss(trainer, _batch(trainer)).item()
    logged = trainer.meter.drain()
    parts = logged["preference"] + 0.5 * logged["cross_entropy"] + 0.25 * logged["masked_lm"]
    assert loss == pytest.approx(parts, rel=1e-5)


def _rewarded(monkeypatch: pytest.MonkeyPatch, reward: Callable[[int, str], float]) -> None:
    """Captions get a reward by their row and their text."""

    def compute(request: RewardRequest, terms: Any, weights: Any) -> Rewards:
        total = np.array([*map(reward, request.rows, request.hypotheses)], dtype=np.float64)
        return Rewards(total, {"cider_d": total}, request)

    monkeypatch.setattr("trainers.rewards.calculator._compute", compute)


def test_pictures_with_equal_rewards_give_no_pair_and_the_mean_is_over_the_others(
    drawn, load, monkeypatch, assert_same
):
    _rewarded(monkeypatch, lambda row, text: 1.0 if row in (1, 2) else float(len(text)))
    trainer = _trainer(load(drawn))
    _move(trainer.model)
    batch = _batch(trainer)
    loss = _loss(trainer, batch)
    loss.backward()
    all_rows, logged = _gradients(trainer.model), trainer.meter.drain()
    assert logged["flat_share"] == pytest.approx(2 / 5)
    others = [_loss(trainer, _batch(trainer, range(row, row + 1))) for row in (0, 3, 4)]
    torch.stack(others).mean().backward()
    assert loss.item() == pytest.approx(torch.stack(others).mean().item(), rel=1e-5)
    assert_same(_gradients(trainer.model), all_rows)
    nothing = _loss(trainer, _batch(trainer, range(1, 3)))
    nothing.backward()
    assert nothing.item() == 0.0
    assert all(not gradient.any() for gradient in _gradients(trainer.model).values())


def _variant(document: dict[str, Any], tmp_path: Path, name: str, **changes: Any) -> Path:
    path = tmp_path / f"{name}.json"
    changed = document | {"train": document["train"] | {"lr": 0.5} | changes, "work_dir": str(tmp_path / name)}
    path.write_text(json.dumps(changed))
    return path


@pytest.mark.parametrize("kind", ["drawn", pytest.param("given", marks=pytest.mark.slow)])
def test_accumulated_steps_and_pieces_give_the_update_of_one_batch(
    request, tmp_path, one_step, assert_same, monkeypatch, kind
):
    """Where some pictures give no pair, micro-batches and pieces have different numbers of them."""
    _rewarded(monkeypatch, lambda row, text: 1.0 if row % 3 == 0 else float(len(text)))
    document = request.getfixturevalue(kind)
    whole = one_step(_variant(document, tmp_path, "whole", batch_size=8))
    parts = one_step(_variant(document, tmp_path, "parts", batch_size=2, accumulation_steps=4))
    assert_same(whole["gradients"], parts["gradients"])
    assert kind == "given" or 0 < whole["logged"]["flat_share"] < 1
    (tmp_path / "pieces").mkdir()
    (tmp_path / "pieces/memory.json").write_text('{"device": "cpu", "rows_at_once": 3}')
    pieces = one_step(_variant(document, tmp_path, "pieces", batch_size=8))
    assert_same(whole["gradients"], pieces["gradients"])
    for name in ("preference", "margin", "pair_accuracy", "chosen_length", "rejected_log_prob"):
        for other in (parts, pieces):
            assert other["logged"][name] == pytest.approx(whole["logged"][name], rel=1e-4, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["drawn", "given"])
def test_two_ranks_give_the_update_of_one_process(request, tmp_path, one_step, two_ranks, assert_same, kind):
    document = request.getfixturevalue(kind)
    whole = one_step(_variant(document, tmp_path, "whole", batch_size=8))
    ranks = two_ranks(_variant(document, tmp_path, "ranks", batch_size=4))
    for name, gradient in ranks[0]["gradients"].items():
        assert torch.equal(gradient, ranks[1]["gradients"][name]), name
    assert_same(whole["gradients"], ranks[0]["gradients"])
    assert_same(whole["change"], ranks[0]["change"])
    for name, value in whole["logged"].items():
        assert ranks[0]["logged"][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.fixture
def toy_drawn(toy_document: dict[str, Any]) -> dict[str, Any]:
    """Configuration of a run that takes a second: an untrained toy learns from pairs of its own captions."""
    return toy_document | {
        "train": {"epochs": 1, "batch_size": 8, "lr": 1e-2, "lr_end": 1e-3, "warmup": 0.0},
        "preference": {"enabled": True, "loss": "simpo", "num_samples": 3},
        "scst": {"rewards": TOLD_APART},
        "decode": {"num_beams": 1, "max_length": 8},
        "checkpoint": {"every_epochs": 0.5, "keep_last": 9},
    }


@pytest.fixture
def toy_given(toy_drawn: dict[str, Any], pairs: Path) -> dict[str, Any]:
    """The same on pairs of a file, held to the toy as it was."""
    return toy_drawn | {"preference": {"enabled": True, "pairs": str(pairs)}}


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "output/model.safetensors")


@pytest.mark.parametrize("kind", ["toy_drawn", pytest.param("toy_given", marks=pytest.mark.slow)])
def test_resumed_run_equals_an_uninterrupted_one(request, tmp_path, load, kind):
    """The second start is held to the model of the beginning as well, not to that of the checkpoint."""
    config = load(request.getfixturevalue(kind))
    train(config, ["finetune.py"], tmp_path / "conf.json")
    full, logged = _weights(config.work_dir), _numbers(config.work_dir, "train/margin")
    newest = read_json(config.work_dir / "checkpoints/last.json")["step"]
    for step in range(4, newest + 1):  # as if it had been killed after step 3
        if (folder := config.work_dir / f"checkpoints/checkpoint-{step}").is_dir():
            folder.rename(tmp_path / folder.name)
    (config.work_dir / "output").rename(tmp_path / "first")
    train(config, ["finetune.py"], tmp_path / "conf.json")
    resumed = _weights(config.work_dir)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in full.items())
    assert _numbers(config.work_dir, "train/margin") == logged


def test_equal_rewards_over_a_window_stop_training_with_advice(toy_drawn, tmp_path, load, monkeypatch):
    monkeypatch.setattr("trainers.monitoring.ALARM_STEPS", 3)
    _rewarded(monkeypatch, lambda row, text: 0.0)
    with pytest.raises(ValueError, match=r"step 3: for 3 steps all captions .* a higher preference\.temperature; if"):
        train(load(toy_drawn), ["finetune.py"], tmp_path / "conf.json")


def test_run_on_other_pairs_or_another_beginning_is_not_gone_on_with(toy_given, pairs, tmp_path, load):
    config = load(toy_given)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    (config.work_dir / "output").rename(tmp_path / "first")
    lines = pairs.read_text()
    pairs.write_text(lines + lines.splitlines()[0] + "\n")
    with pytest.raises(ValueError, match=r"holds a run on other preference\.pairs; they have changed since"):
        train(config, ["finetune.py"], tmp_path / "conf.json")
    pairs.write_text(lines)
    weights = tmp_path / "start/model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(weights).items()}, weights)
    with pytest.raises(ValueError, match=r"other weights of model\.name, which .* preference\.loss=dpo holds on to"):
        train(config, ["finetune.py"], tmp_path / "conf.json")


@pytest.mark.slow
def test_rows_that_are_found_to_fit_leave_no_trace(toy_drawn, tmp_path, load):
    weights = []
    for name, asked in (("plain", {}), ("auto", {"batch_size": "auto", "global_batch_size": 8})):
        config = load(toy_drawn | {"train": toy_drawn["train"] | asked, "work_dir": str(tmp_path / name)})
        train(config, ["finetune.py"], tmp_path / "conf.json")
        weights.append(_weights(config.work_dir))
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_pictures_of_pairs_are_held_against_those_of_validation(toy_given, scenes, pairs, load):
    prepared = prepare(load(toy_given))
    assert _find_overlaps(prepared)["val"].same_file == 0
    row = next(row for _, row in read_jsonl(scenes / "val.jsonl"))
    line = json.loads(pairs.read_text().splitlines()[0]) | {"image": row["image"]}
    pairs.write_text(json.dumps(line) + "\n")
    assert _find_overlaps(prepare(load(toy_given)))["val"].same_file == 1


def test_caption_that_the_model_cannot_write_is_refused(toy_given, pairs, load):
    line = json.loads(pairs.read_text().splitlines()[0]) | {"rejected": "an ossifrage"}
    pairs.write_text(json.dumps(line) + "\n")
    with pytest.raises(
        ValueError, match=r"line 1: the model has no token for something in 'an ossifrage'\. Correct or"
    ):
        prepare(load(toy_given))


def _numbers(run: Path, name: str) -> list[float]:
    return [row[name] for _, row in read_jsonl(run / "metrics.jsonl") if name in row]


def test_training_on_a_file_learns_to_prefer_its_chosen_captions(toy_given, tmp_path, load):
    toy_given["train"] |= {"epochs": 8, "lr": 3e-2}
    toy_given["checkpoint"] = {"every_epochs": 4}
    config = load(toy_given)
    assert config.checkpoint.select == "CIDEr"
    results = train(config, ["finetune.py"], tmp_path / "conf.json")
    accuracy, margins = (_numbers(config.work_dir, f"train/{name}") for name in ("pair_accuracy", "margin"))
    assert accuracy[0] < 0.9
    assert accuracy[-1] == 1.0
    assert margins[-1] > 1.0 > margins[0]
    assert _numbers(config.work_dir, "train/preference")[-1] < 0.4
    assert results["n"] == 12
    page = (config.work_dir / "report.html").read_text()
    for title in ("Margin", "Pair accuracy", "Length in pairs", "Log-probability in pairs", "per pair of captions"):
        assert title in page


def test_training_on_drawn_pairs_raises_the_reward(toy_drawn, tmp_path, load):
    """A reward that an untrained model can climb: not to say a word twice."""
    toy_drawn["preference"] |= {"num_samples": 8, "temperature": 1.0, "loss": "dpo"}
    toy_drawn |= {"scst": {"rewards": {"repetition": 1.0}}, "masked_lm": {}, "checkpoint": {"every_epochs": 6}}
    toy_drawn["train"] |= {"epochs": 6, "lr": 3e-2}
    config = load(toy_drawn)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    rewards = _numbers(config.work_dir, "train/reward")
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.03


@pytest.mark.parametrize("kind", ["drawn", "given"])
def test_step_leaves_statistics_and_what_is_frozen(request, load, kind):
    document = request.getfixturevalue(kind)
    document["train"] |= {"freeze": ["embeddings"]}
    trainer = _trainer(load(document))
    before = {name: buffer.clone() for name, buffer in trainer.model.named_buffers()}
    trainer.model.train()
    _loss(trainer, _batch(trainer)).backward()
    assert all(torch.equal(buffer, before[name]) for name, buffer in trainer.model.named_buffers())
    trained = _gradients(trainer.model).keys()
    assert {"decoder.layers.0.fc1.weight", "encoder.embed_images.conv1.weight"} <= trained
    assert "encoder.embed_tokens.weight" not in trained
