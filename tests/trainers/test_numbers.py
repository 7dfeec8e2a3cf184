"""NaN and infinity, wherever they come from, are found at their step and get neither into weights nor into a log."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.train import train
from runs.checkpoints import whole_checkpoints
from runs.folder import Run
from trainers.base import BaseTrainer
from trainers.caption_trainer import StyleCaptionTrainer
from trainers.numbers import BAD_STEPS, WARM_UP, SpikeWindow
from trainers.scst_trainer import ScstTrainer
from utils.errors import NoNumbers
from utils.io import read_jsonl

STEPS = (2, 5, 9)
"""Of twelve; each alone between good ones."""


@pytest.fixture
def poison(monkeypatch) -> Callable[[str, float, tuple[int, ...]], None]:
    """Puts a number that is none into chosen steps of a training."""

    def spoil(place: type, method: str, change: Callable[..., Any], steps: tuple[int, ...]) -> None:
        usual = getattr(place, method)

        def spoilt(self, *args):
            return change(self, usual, *args) if self.state.global_step + 1 in steps else usual(self, *args)

        monkeypatch.setattr(place, method, spoilt)

    def put(kind: str, value: float, steps: tuple[int, ...]) -> None:
        def loss(self, usual, *args):
            return usual(self, *args) * value

        def pixels(self, usual, model, piece, *args):
            return usual(self, model, piece | {"patch_images": piece["patch_images"] * value}, *args)

        def gradient(self, usual, model):
            next(p for p in self.model.parameters() if p.grad is not None).grad.view(-1)[0] = value
            return usual(self, model)

        def lr(self, usual, model):
            self.optimizer.param_groups[0]["lr"] = value
            return usual(self, model)

        def reward(self, usual, scored, samples, rewards):
            rewards.total[0] = value
            return usual(self, scored, samples, rewards)

        places = {
            "loss": (StyleCaptionTrainer, "step_loss", loss),
            "pixels": (BaseTrainer, "run_piece", pixels),
            "gradient": (BaseTrainer, "_clip_grad_norm", gradient),
            "lr": (BaseTrainer, "_clip_grad_norm", lr),
            "reward": (ScstTrainer, "_self_critical_loss", reward),
        }
        spoil(*places[kind], steps)

    return put


def run_of(document: dict[str, Any], load: Callable[..., Any], start_model: Any, kind: str) -> Any:
    if kind == "reward":
        document |= {"model": {"name": str(start_model)}, "scst": {"enabled": True, "num_samples": 2}}
    document["train"] |= {"lr": 1e-4}
    document["checkpoint"] = {"every_epochs": 0.5, "keep_last": 9, "select": "loss"}
    return load(document)


def assert_finite(run: Run) -> None:
    checkpoints = list(whole_checkpoints(run))
    assert checkpoints
    for checkpoint in checkpoints:
        for name, tensor in load_file(checkpoint.folder / "model.safetensors").items():
            assert not tensor.is_floating_point() or tensor.isfinite().all(), f"{checkpoint.step} {name}"
        moments = torch.load(checkpoint.folder / "optimizer.pt", weights_only=True)["state"]
        assert all(tensor.isfinite().all() for group in moments.values() for tensor in group.values())


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((kind, math.nan) for kind in ("loss", "pixels", "reward")),
        *((kind, math.inf) for kind in ("gradient", "lr")),
        *(pytest.param(kind, math.inf, marks=pytest.mark.slow) for kind in ("loss", "pixels", "reward")),
        *(pytest.param(kind, math.nan, marks=pytest.mark.slow) for kind in ("gradient", "lr")),
    ],
)
def test_bad_step_is_left_out_and_its_examples_are_written_down(
    tiny_document, load, start_model, tmp_path, poison, kind, value
):
    config = run_of(tiny_document, load, start_model, kind)
    poison(kind, value, STEPS)
    train(config, ["finetune.py"], tmp_path / "conf.json")
    run = Run(config.work_dir)
    rows = [row for _, row in read_jsonl(run.root / "bad_steps.jsonl")]
    assert [row["global_step"] for row in rows] == list(STEPS)
    assert all(row["kind"] == "bad" and row["skipped"] and row["in_a_row"] == 1 for row in rows)
    assert all(len(row["rows"]) == len(row["example_ids"]) == 8 for row in rows)
    assert_finite(run)
    logged = [row for _, row in read_jsonl(run.metrics)]
    assert all(row[name] is not None for row in logged for name in row)
    assert logged[-1]["global_step"] == 12


@pytest.mark.parametrize("kind", ["loss", "pixels", "reward"])
def test_bad_steps_in_a_row_end_the_run_with_the_last_good_checkpoint(
    tiny_document, load, start_model, tmp_path, poison, kind
):
    config = run_of(tiny_document, load, start_model, kind)
    poison(kind, math.nan, tuple(range(5, 5 + BAD_STEPS)))
    with pytest.raises(NoNumbers, match=rf"step {4 + BAD_STEPS}: .* is nan.*in a row.*last good checkpoint is .*-6\."):
        train(config, ["finetune.py"], tmp_path / "conf.json")
    assert NoNumbers.exit_code == 78
    assert_finite(Run(config.work_dir))
    assert not Run(config.work_dir).output.exists()


def test_spike_is_so_many_median_deviations_above_the_median():
    window = SpikeWindow([1.0] * (WARM_UP - 1))
    assert window.limit() == math.inf
    for value in (1.0, 2.0):
        window.add(value)
    assert window.limit() == pytest.approx(1.0 + 12 * 0.05)  # no deviation: a twentieth of the median stands for it
    even = SpikeWindow([float(number % 5) for number in range(100)])  # median 2, median deviation 1
    assert even.limit() == 14.0
