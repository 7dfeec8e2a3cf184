from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configuration.loading import RunConfig
from pipeline import tasks as tasks_module
from pipeline.prepare import prepare
from pipeline.train import train
from pipeline.training import build_trainer, training_arguments
from trainers.hf_trainer import TrainingArguments
from trainers.objective import StepTokens
from trainers.rewards.terms import RewardRequest, Rewards
from trainers.sampler import Samples
from trainers.scst_trainer import ScstTrainer
from utils.io import read_jsonl

# Terms that tell the captions of an untrained model apart, which CIDEr-D hardly does.
TOLD_APART = {"cider_d": 1.0, "length": 1.0, "repetition": 1.0}


@pytest.fixture
def scst_document(tiny_document: dict[str, Any], start_model: Path) -> dict[str, Any]:
    """Configuration of a self-critical run from an untrained model."""
    return tiny_document | {
        "model": {"name": str(start_model)},
        "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3, "warmup": 0.0},
        "scst": {"enabled": True, "num_samples": 3, "rewards": TOLD_APART},
        "decode": {"num_beams": 2, "max_length": 8},
    }


def _trainer(config: RunConfig) -> ScstTrainer:
    args = training_arguments(config)
    args.report_to = []
    trainer = build_trainer(args, prepare(config))
    trainer.current_gradient_accumulation_steps, trainer._micro_step = 1, 1
    return trainer


def _batch(trainer: ScstTrainer, rows: range = range(5)) -> dict[str, torch.Tensor]:
    return dict(trainer._prepare_inputs(trainer.data_collator([trainer.train_dataset[row] for row in rows])))


def _tokens() -> StepTokens:
    return StepTokens(torch.tensor(7), torch.tensor(9))


def _variant(document: dict[str, Any], tmp_path: Path, name: str, **changes: Any) -> Path:
    path = tmp_path / f"{name}.json"
    changed = document | {"train": document["train"] | {"lr": 0.5} | changes, "work_dir": str(tmp_path / name)}
    path.write_text(json.dumps(changed))
    return path


def test_two_ranks_and_accumulated_steps_give_the_update_of_one_batch(
    scst_document, tmp_path, one_step, two_ranks, assert_same
):
    """Samples depend on the row alone, and the mean is over the tokens of all of them, so 8 = 2 ranks x 4 = 4 x 2."""
    whole = one_step(_variant(scst_document, tmp_path, "whole", batch_size=8))
    parts = one_step(_variant(scst_document, tmp_path, "parts", batch_size=2, accumulation_steps=4))
    assert_same(whole["gradients"], parts["gradients"])

    ranks = two_ranks(_variant(scst_document, tmp_path, "ranks", batch_size=4))
    for name, gradient in ranks[0]["gradients"].items():
        assert torch.equal(gradient, ranks[1]["gradients"][name]), name
    assert_same(whole["gradients"], ranks[0]["gradients"])
    assert_same(whole["change"], ranks[0]["change"])
    # What is logged is of both ranks: the same numbers as one process saw.
    for name, value in whole["logged"].items():
        assert ranks[0]["logged"][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize(
    "scst",
    [
        {},
        {"baseline": "greedy", "num_samples": 1},
        {"baseline": "group_mean", "sampling": "beam"},
        {"baseline": "greedy", "sampling": "beam", "cross_entropy_weight": 0.5},
    ],
)
def test_step_passes_every_image_through_the_encoder_once(scst_document, load, scst):
    scst_document["scst"] |= scst
    trainer = _trainer(load(scst_document))
    passed: list[int] = []
    trainer.model.encoder.register_forward_hook(lambda module, given, out: passed.append(len(out.last_hidden_state)))
    pictures: list[int] = []
    trainer.model.encoder.embed_images.register_forward_hook(lambda module, given, out: pictures.append(len(out)))
    with trainer.rewards:
        trainer.caption_loss(trainer.model, _batch(trainer), _tokens()).backward()
    assert passed == pictures == [5]


def test_caption_loss_equals_separate_passes_for_every_sample(scst_document, load, assert_same, monkeypatch):
    """The gradient of -sum log p * (reward - mean of the siblings) / tokens, one picture and one caption at a time."""
    trainer = _trainer(load(scst_document))
    model, batch = trainer.model, _batch(trainer)
    drawn: list[Samples] = []
    draw = trainer.self_critical.sampler.draw
    monkeypatch.setattr(
        type(trainer.self_critical.sampler), "draw", lambda self, *given: drawn.append(draw(*given)) or drawn[0]
    )
    with trainer.rewards:
        loss = trainer.caption_loss(model, dict(batch), _tokens())
        loss.backward()
        request = trainer._reward_request(drawn[0].joined(), batch["rows"].tolist())
        trainer.rewards.submit(lambda: request)
        rewards = torch.from_numpy(trainer.rewards.result().total).view(5, 3)
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    tokens = int(drawn[0].token_ids.ne(-100).sum())
    total = torch.zeros(())
    for image in range(5):
        for sample in range(3):
            token_ids = drawn[0].token_ids[image, sample]
            token_ids = token_ids[token_ids.ne(-100)]
            inputs = {name: batch[name][image, None] for name in ("input_ids", "patch_images", "patch_masks")}
            prefix = torch.cat([torch.zeros(1, dtype=torch.int64), token_ids[:-1]])[None]
            logits = model(**inputs, decoder_input_ids=prefix).logits[0, :, : model.config.text_vocab_size]
            logits = logits.masked_fill(torch.arange(logits.shape[1]) == model.config.pad_token_id, -torch.inf)
            log_p = logits.log_softmax(-1)[torch.arange(len(token_ids)), token_ids].sum()
            siblings = [rewards[image, other] for other in range(3) if other != sample]
            total = total - log_p * (rewards[image, sample] - sum(siblings) / 2).float() / tokens
    total.backward()
    theirs = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert loss.item() == pytest.approx(total.item(), rel=1e-4, abs=1e-6)
    assert_same(theirs, ours)


def test_training_changes_the_decoder_and_leaves_frozen_parts_and_statistics(
    scst_document, start_model, tmp_path, load
):
    config = load(scst_document)
    results = train(config, ["finetune.py"], tmp_path / "conf.json")
    start = torch.load(start_model / "pytorch_model.bin", weights_only=True)
    end = torch.load(config.work_dir / "output/pytorch_model.bin", weights_only=True)
    same = {name for name, tensor in end.items() if torch.equal(tensor, start[name])}
    assert {"encoder.embed_tokens.weight", "decoder.output_projection.weight"} <= same
    assert {name for name in end if "running_" in name} <= same
    assert "decoder.layers.0.fc1.weight" not in same
    assert "encoder.embed_images.conv1.weight" not in same
    assert results["n"] == 12
    names = set().union(*(row for _, row in read_jsonl(config.work_dir / "metrics.jsonl")))
    expected = {"scst", "reward", "reward_std", "reward/cider_d", "reward_std/length", "flat_share", "caption_length"}
    assert {f"train/{name}" for name in expected | {"unended_share", "distinct_2", "grad_norm"}} <= names
    assert (config.work_dir / "document_frequency.npz").is_file()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reward")]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_rewards_are_the_same_for_any_number_of_threads(scst_document, load, workers):
    """Seven threads and five pictures: some get none."""
    losses = []
    for count in (workers, 3):
        scst_document["scst"] |= {"reward_workers": count, "baseline": "greedy"}
        trainer = _trainer(load(scst_document))
        with trainer.rewards:
            losses.append(trainer.caption_loss(trainer.model, _batch(trainer), _tokens()).item())
    assert losses[0] == losses[1]


def test_embeddings_and_batch_norm_train_where_they_are_not_frozen(scst_document, start_model, tmp_path, load):
    scst_document["scst"] |= {"freeze_embeddings": False, "freeze_batch_norm": False, "dropout": True}
    config = load(scst_document)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    start = torch.load(start_model / "pytorch_model.bin", weights_only=True)
    end = torch.load(config.work_dir / "output/pytorch_model.bin", weights_only=True)
    for name in ("encoder.embed_tokens.weight", "encoder.embed_images.bn1.running_mean"):
        assert not torch.equal(end[name], start[name]), name


def test_training_raises_the_reward(scst_document, tmp_path, load):
    """A reward that an untrained model can climb: as many words as people use."""
    scst_document["scst"] |= {"rewards": {"length": 1.0}, "num_samples": 8, "freeze_embeddings": False}
    scst_document["train"] |= {"epochs": 6, "batch_size": 12, "lr": 1e-2}
    scst_document["decode"] = {"num_beams": 1, "max_length": 12}
    config = load(scst_document)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    rewards = [row["train/reward"] for _, row in read_jsonl(config.work_dir / "metrics.jsonl") if "train/reward" in row]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.1


@pytest.mark.slow  # as test_exact_resume.py does with kills
def test_resumed_run_equals_an_uninterrupted_one(scst_document, tmp_path, load):
    scst_document["checkpoint"] = {"every_epochs": 0.5, "keep_last": 9}
    scst_document["scst"] |= {"kl_weight": 0.1, "dropout": True}
    scst_document["masked_lm"] = {"weight": 0.5, "weight_end": 0.0}
    config = load(scst_document)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    full = torch.load(config.work_dir / "output/pytorch_model.bin", weights_only=True)
    for step in (6,):  # as if the run had been killed after step 3
        folder = config.work_dir / f"checkpoints/checkpoint-{step}"
        folder.rename(tmp_path / folder.name)
    (config.work_dir / "output").rename(tmp_path / "first")
    train(config, ["finetune.py"], tmp_path / "conf.json")
    resumed = torch.load(config.work_dir / "output/pytorch_model.bin", weights_only=True)
    for name, tensor in full.items():
        assert torch.equal(tensor, resumed[name]), name


def test_exception_of_a_reward_term_stops_training_with_its_own_message(scst_document, tmp_path, load, monkeypatch):
    def build(*args: Any, **kwargs: Any) -> Any:
        from trainers.rewards.calculator import RewardCalculator

        def broken(hypotheses: Any, rows: Any, ended: Any) -> Any:
            raise ValueError("the scorer fell over")

        return RewardCalculator({"cider_d": broken}, {"cider_d": 1.0})

    monkeypatch.setattr(tasks_module, "build_rewards", build)
    config = load(scst_document)
    with pytest.raises(ValueError, match="the scorer fell over"):
        train(config, ["finetune.py"], tmp_path / "conf.json")
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reward")]


def test_equal_rewards_over_a_window_stop_training_with_advice(scst_document, tmp_path, load, monkeypatch):
    monkeypatch.setattr("trainers.monitoring.ALARM_STEPS", 3)

    def flat(request: RewardRequest) -> Rewards:
        zeros = np.zeros(len(request.rows))
        return Rewards(zeros, {"cider_d": zeros}, request)

    monkeypatch.setattr("trainers.rewards.calculator._compute", lambda request, terms, weights: flat(request))
    config = load(scst_document)
    with pytest.raises(ValueError, match=r"step 3: for 3 steps all captions of every image had the same reward"):
        train(config, ["finetune.py"], tmp_path / "conf.json")


def test_kl_to_the_starting_model_is_zero_at_the_first_step_and_then_grows(scst_document, load):
    scst_document["scst"] |= {"kl_weight": 0.1}
    trainer = _trainer(load(scst_document))
    kl = []
    with trainer.rewards:
        for _ in range(2):
            trainer.model.zero_grad()
            trainer.caption_loss(trainer.model, _batch(trainer), _tokens()).backward()
            kl.append(trainer.meter.drain()["kl"])
            with torch.no_grad():
                for parameter in trainer.model.parameters():
                    if parameter.grad is not None:
                        parameter -= 3.0 * parameter.grad
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[1] > 1e-4


@pytest.mark.slow
def test_cached_features_give_the_losses_of_the_pictures(scst_document, tmp_path, load):
    losses = []
    for limit in (0, 64):
        scst_document["train"] |= {"freeze": ["resnet"]}
        scst_document["image"] |= {"feature_cache_mb": limit}
        scst_document["work_dir"] = str(tmp_path / f"run{limit}")
        config = load(scst_document)
        train(config, ["finetune.py"], tmp_path / "conf.json")
        rows = [row for _, row in read_jsonl(config.work_dir / "metrics.jsonl")]
        losses.append([row["train/loss"] for row in rows if "train/loss" in row])
    assert len(list((tmp_path / "features").glob("*/part-*.bin"))) == 1  # one run kept features, the other did not
    # float16 rounds at 1/2048; where that changed a draw, the losses would differ by far more.
    assert losses[0] == pytest.approx(losses[1], rel=2e-3, abs=2e-4)


@pytest.mark.parametrize("saves", [True, False])
def test_only_the_process_that_saves_writes_into_a_checkpoint(scst_document, load, tmp_path, monkeypatch, saves):
    """Every process calls _save; where another has still to make the folder, writing beside it would fail."""
    trainer = _trainer(load(scst_document))
    monkeypatch.setattr(TrainingArguments, "should_save", property(lambda self: saves))
    with trainer.rewards:
        trainer._save(str(tmp_path / "checkpoint"))
    assert (tmp_path / "checkpoint/styles.json").exists() == saves
