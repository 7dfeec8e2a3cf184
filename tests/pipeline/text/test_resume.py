"""A text run that was killed, stopped or paused anywhere ends with the bytes of one that never was."""

from __future__ import annotations

import random
import signal
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from runs.checkpoints import complete_steps
from runs.folder import Run
from trainers.callbacks import StopOrSave
from trainers.text_trainer import TextTrainer
from utils.errors import Stopped
from utils.io import read_json, read_jsonl
from utils.signals import request_stop

DRAWS = {
    "documents": {"ignore_meta_prob": 0.4},
    "unlikelihood": {"repetition": 0.5, "sequence": 0.4},
    "train": {"epochs": 5, "accumulation_steps": 2, "num_cycles": 2},
    "lm": {"dropout": 0.2, "val_every": 3, "sample_every": 2, "hit_places": 0},
}
"""All that draws random numbers is on; samples come between validations too."""


class Killed(BaseException):
    """Ends a training where no code of ours is meant to catch it."""


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "time"}


def content(run: Run) -> dict[str, Any]:
    newest = run.checkpoint(complete_steps(run)[0])
    state = torch.load(newest / "optimizer.pt", weights_only=True)["state"]
    tensors = {f"{key}/{name}": tensor for key, group in state.items() for name, tensor in group.items()}
    rows = {file.name: [without_time(row) for _, row in read_jsonl(file)] for file in (run.metrics, run.samples)}
    others = {"best": read_json(run.best), "results": read_json(run.eval / "val.json")["overall"]}
    return {"tensors": tensors | load_file(run.output / "model.safetensors")} | others | rows


def assert_equal(whole: dict[str, Any], resumed: dict[str, Any]) -> None:
    tensors, others = whole.pop("tensors"), resumed.pop("tensors")
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name
    assert whole == resumed


@pytest.fixture(scope="module")
def whole(write_text, run_text, tmp_path_factory) -> Run:
    config = write_text(tmp_path_factory.mktemp("runs") / "whole", **DRAWS)
    run_text(config)
    return Run(config.work_dir)


def test_run_killed_four_times_ends_with_the_bytes_of_one_that_was_not(
    whole, write_text, run_text, tmp_path, monkeypatch
):
    config, usual = write_text(tmp_path / "killed", **DRAWS), StopOrSave.on_step_end
    steps = read_json(whole.last)["step"]
    for place in sorted(random.Random(5).choices(range(1, steps), k=4)):

        def end(self, args, state, control, place=place, **others):
            if state.global_step == place:
                raise Killed
            usual(self, args, state, control, **others)

        monkeypatch.setattr(StopOrSave, "on_step_end", end)
        with pytest.raises(Killed):
            run_text(config)
    monkeypatch.setattr(StopOrSave, "on_step_end", usual)
    run_text(config)
    assert_equal(content(whole), content(Run(config.work_dir)))


@pytest.mark.parametrize(
    ("method", "at", "step"),
    [pytest.param("training_step", 3, 2, marks=pytest.mark.slow), ("validate", 1, 3), ("sample", 2, 4)],
)
def test_signal_saves_at_the_end_of_the_step_and_the_run_goes_on_exactly(
    whole, write_text, run_text, tmp_path, monkeypatch, method, at, step
):
    config, usual, calls = write_text(tmp_path / "stopped", **DRAWS), getattr(TextTrainer, method), iter(range(1, 1000))

    def with_signal(self, *args, **kwargs):
        if next(calls) == at:
            request_stop(signal.SIGUSR1)
        return usual(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(TextTrainer, method, with_signal)
        with pytest.raises(Stopped, match="the same command goes on from there"):
            run_text(config)
    assert complete_steps(Run(config.work_dir))[0] == step
    run_text(config)
    assert_equal(content(whole), content(Run(config.work_dir)))


def test_endless_run_ends_by_the_clock_and_is_evaluated(write_text, run_text, tmp_path, monkeypatch):
    """An hour a step: the third is the last, and one of an earlier start counts."""
    clock = {"seconds": 0.0}
    monkeypatch.setattr(TextTrainer, "seconds", lambda self: self.seconds_before + clock["seconds"])
    usual = TextTrainer.training_step

    def step(self, *args, **kwargs):
        clock["seconds"] += 3600.0
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(TextTrainer, "training_step", step)
    endless = {"train": {"epochs": None, "max_hours": 3.0, "warmup": 0.0}, "lm": {"save_every": 1}}
    config = write_text(tmp_path / "endless", **endless)
    with monkeypatch.context() as patch:
        patch.setattr(TextTrainer, "_save_checkpoint", _stopping(TextTrainer._save_checkpoint))
        with pytest.raises(Stopped, match=r"after the checkpoint of step 2; the same"):
            run_text(config)
    clock["seconds"] = 0.0
    results = run_text(config)
    run = Run(config.work_dir)
    assert results["overall"]["loss"] > 0
    assert complete_steps(run)[0] == 3
    rates = [row["train/lr"] for _, row in read_jsonl(run.metrics) if "train/lr" in row]
    assert set(rates) == {3e-3}


def _stopping(usual):
    def save(self, *args, **kwargs):
        usual(self, *args, **kwargs)
        request_stop(signal.SIGUSR1)

    return save
