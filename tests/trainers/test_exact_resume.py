"""A run that was killed, stopped or paused anywhere ends with the bytes of one that never was."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from configuration.loading import RunConfig, load_config
from pipeline.train import train
from runs.checkpoints import complete_steps
from runs.folder import Run
from runs.metrics_log import cut_after
from trainers.callbacks import StopOrSave
from trainers.caption_trainer import StyleCaptionTrainer
from utils.errors import Stopped
from utils.io import read_json, read_jsonl
from utils.signals import request_stop, stopping_as_on_ctrl_c


class Killed(BaseException):
    """Ends a training where no code of ours is meant to catch it."""


@pytest.fixture
def document(tiny_document) -> dict[str, Any]:
    """All that draws random numbers is on; three checkpoints in two epochs, numbers logged at every other step."""
    tiny_document["style"] = {"dropout": 0.3}
    tiny_document["image"] |= {"size": 32, "max_size": 40, "random_crop": True}
    tiny_document["checkpoint"] = {"every_epochs": 0.7, "keep_last": 2}
    tiny_document["train"] |= {"batch_size": 4}
    return tiny_document


def self_critical(document: dict[str, Any], start: Path) -> dict[str, Any]:
    changed = {"model": {"name": str(start)}, "style": {}, "scst": {"enabled": True, "num_samples": 2}}
    return document | changed | {"decode": document["decode"] | {"max_length": 6}}


def write(document: dict[str, Any], folder: Path, name: str) -> RunConfig:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document | {"work_dir": str(folder / name)}))
    return load_config(path)


def start(config: RunConfig) -> dict[str, Any]:
    with stopping_as_on_ctrl_c():
        return train(config, ["finetune.py"], config.work_dir.with_suffix(".json"))


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "time"}


def content(run: Run) -> dict[str, Any]:
    """What must be equal: weights, optimizer, schedule, captions, numbers, samples; times are no part of it."""
    newest = run.checkpoint(complete_steps(run)[0])
    rows = {file.name: [without_time(row) for _, row in read_jsonl(file)] for file in (run.metrics, run.samples)}
    state = torch.load(newest / "optimizer.pt", weights_only=True)["state"]
    return {
        "optimizer": {f"{key}/{name}": tensor for key, group in state.items() for name, tensor in group.items()},
        "weights": torch.load(run.output / "pytorch_model.bin", weights_only=True),
        "scheduler": torch.load(newest / "scheduler.pt", weights_only=True)["last_epoch"],
        "captions": read_json(run.eval / "val.captions.json"),
        "best": read_json(run.best),
    } | rows


def assert_equal(whole: dict[str, Any], resumed: dict[str, Any]) -> None:
    for part, value in whole.items():
        if part in ("weights", "optimizer"):
            assert value.keys() == resumed[part].keys()
            for name, tensor in value.items():
                assert torch.equal(tensor, resumed[part][name]), f"{part} {name}"
        else:
            assert value == resumed[part], part


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Content of a run that nobody disturbed, by its configuration, each run once."""
    kept: dict[str, dict[str, Any]] = {}

    def content_of(document: dict[str, Any]) -> dict[str, Any]:
        key = json.dumps(document)
        if key not in kept:
            config = write(document, tmp_path_factory.mktemp("whole"), "whole")
            start(config)
            kept[key] = content(Run(config.work_dir))
        return kept[key]

    return content_of


@pytest.fixture
def kill_at(monkeypatch) -> Callable[[int | None], None]:
    """Lets training end abruptly after an optimizer step, before it is validated and saved."""
    usual = StopOrSave.on_step_end

    def at(step: int | None) -> None:
        def end(self, args, state, control, **others):
            if state.global_step == step:
                raise Killed
            usual(self, args, state, control, **others)

        monkeypatch.setattr(StopOrSave, "on_step_end", end)

    return at


def killed_often(config: RunConfig, places: Iterator[int], kill_at: Callable[[int | None], None]) -> None:
    for place in places:
        kill_at(place)
        with pytest.raises(Killed):
            start(config)
    kill_at(None)
    start(config)


@pytest.mark.parametrize(
    ("kind", "workers", "accumulation"),
    [
        pytest.param("cross-entropy", 2, 1, marks=pytest.mark.slow),  # as tests/faults does with real processes
        ("SCST", 0, 3),
        pytest.param("several captions", 0, 1, marks=pytest.mark.slow),
    ],
)
def test_run_killed_four_times_ends_with_the_bytes_of_one_that_was_not(
    document, start_model, tmp_path, kill_at, kind, workers, accumulation
):
    document["train"] |= {"num_workers": workers, "accumulation_steps": accumulation}
    if kind == "several captions":
        document["image"]["random_crop"] = False
        document["masked_lm"] = {"weight": 0.5}
        document["train"] |= {"captions_per_row": 2, "group_pictures": True, "group_lengths": True}
    if kind == "SCST":
        document = self_critical(document, start_model)
    whole = write(document, tmp_path, "whole")
    start(whole)
    steps = read_json(Run(whole.work_dir).last)["step"]
    places = random.Random(f"{kind} {workers} {accumulation}").choices(range(1, steps), k=4)
    config = write(document, tmp_path, "killed")
    killed_often(config, iter(sorted(places)), kill_at)
    assert_equal(content(Run(whole.work_dir)), content(Run(config.work_dir)))


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["cross-entropy", "SCST"])
def test_run_killed_at_each_of_its_steps_ends_with_the_same_bytes(
    document, start_model, tmp_path, kill_at, kind, workers, accumulation
):
    document["train"] |= {"num_workers": workers, "accumulation_steps": accumulation, "epochs": 3, "batch_size": 2}
    if kind == "SCST":
        document = self_critical(document, start_model)
    whole = write(document, tmp_path, "whole")
    start(whole)
    expected = content(Run(whole.work_dir))
    for step in range(1, read_json(Run(whole.work_dir).last)["step"]):
        config = write(document, tmp_path, f"killed-{step}")
        killed_often(config, iter([step]), kill_at)
        assert_equal(expected, content(Run(config.work_dir)))


def test_numbers_hold_each_step_once_and_a_mean_over_the_kill(document, tmp_path, kill_at, monkeypatch):
    """Numbers are logged every second step and saved at odd ones: a mean is over steps before and after the kill."""
    config = write(document, tmp_path, "killed")
    killed_often(config, iter([8, 11, 16]), kill_at)
    rows = [row for _, row in read_jsonl(Run(config.work_dir).metrics)]
    counted = Counter((row["global_step"], any(name.startswith("val/") for name in row)) for row in rows)
    assert set(counted.values()) == {1}
    validated = [row["global_step"] for row in rows if "val/loss" in row]
    shown = Counter(row["global_step"] for _, row in read_jsonl(Run(config.work_dir).samples))
    assert list(shown) == validated
    assert set(shown.values()) == {2}


def stopped(config: RunConfig, monkeypatch, place: type, method: str, at: int) -> str:
    """A start that a signal meets at the ``at``-th call of a method; what it says in the end."""
    usual, calls = getattr(place, method), iter(range(1, 10_000))

    def with_signal(self, *args, **kwargs):
        if next(calls) == at:
            request_stop(signal.SIGUSR1)
        return usual(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(place, method, with_signal)
        with pytest.raises((Stopped, KeyboardInterrupt)) as caught:
            start(config)
    return str(caught.value)


@pytest.mark.parametrize(
    ("method", "at", "step"),
    [
        pytest.param("training_step", 1, 1, marks=pytest.mark.slow),
        ("training_step", 13, 13),
        # The validation of step 9 is given up, and made by the next start: stopped twice below, which is more.
        pytest.param("validate", 1, 9, marks=pytest.mark.slow),
        ("validate", 3, 24),  # training is over, but which checkpoint is best is not known yet
        ("_save_checkpoint", 2, 19),
    ],
)
def test_signal_saves_at_the_end_of_the_step_and_the_run_goes_on_exactly(
    document, whole, tmp_path, monkeypatch, method, at, step
):
    config = write(document, tmp_path, "stopped")
    told = stopped(config, monkeypatch, StyleCaptionTrainer, method, at)
    assert f"stopped by SIGUSR1 after the checkpoint of step {step} of 24; the same command goes on" in told
    assert complete_steps(Run(config.work_dir))[0] == step
    start(config)
    assert_equal(whole(document), content(Run(config.work_dir)))


def test_validation_that_is_stopped_twice_is_still_made(document, whole, tmp_path, monkeypatch):
    config = write(document, tmp_path, "stopped")
    stopped(config, monkeypatch, StyleCaptionTrainer, "validate", 1)
    stopped(config, monkeypatch, StyleCaptionTrainer, "validate", 1)
    assert complete_steps(Run(config.work_dir)) == [9]
    start(config)
    assert_equal(whole(document), content(Run(config.work_dir)))


def test_checkpoint_is_saved_when_somebody_asks_for_one(document, tmp_path, monkeypatch):
    config = write(document, tmp_path, "run")
    run, usual = Run(config.work_dir), StyleCaptionTrainer.training_step

    def ask(self, *args, **kwargs):
        if self.state.global_step == 2:
            run.save_now.touch()
        if self.state.global_step == 5:
            raise Killed
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(StyleCaptionTrainer, "training_step", ask)
    with pytest.raises(Killed):
        start(config)
    assert complete_steps(run) == [3]
    assert not run.save_now.exists()


@pytest.mark.parametrize(("step", "awaits", "kept"), [(0, False, []), (4, False, [1, 4, 4]), (4, True, [1, 4])])
def test_rows_after_a_checkpoint_are_cut(tmp_path, step, awaits, kept):
    file = tmp_path / "metrics.jsonl"
    rows = [{"global_step": 1, "train/loss": 2.0}, {"global_step": 4, "train/loss": 1.0}]
    rows += [{"global_step": 4, "val/loss": 1.5}, {"global_step": 5, "train/loss": 0.5}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"global_step": 6, "tra')
    assert cut_after(file, step, awaits_validation=awaits) == 5 - len(kept)
    assert [row["global_step"] for _, row in read_jsonl(file)] == kept
    assert cut_after(tmp_path / "absent.jsonl", step) == 0
