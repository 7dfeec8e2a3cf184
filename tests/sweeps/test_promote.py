"""Promotion: the best model in its new place, whole and with its origin, and nothing deleted before that."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from runs.folder import Run
from sweeps import promote as module
from sweeps.promote import PROVENANCE, check_model, delete_weights, promote
from sweeps.trials.folder import enter_sweep
from utils.io import read_json, write_json

CIDER = {"001-seed7": 0.2, "002-seed7": 0.5, "003-seed7": 0.4}
OPEN_ANYTHING = "import sys"


@pytest.fixture
def finished(make_sweep, write_run, monkeypatch):
    """A sweep of three trained trials whose models are a few bytes, which count as models here."""
    monkeypatch.setattr(module, "OPEN_MODEL", OPEN_ANYTHING)
    folder, plan = make_sweep()
    for trial in plan.trials:
        value = CIDER[trial.name]
        confidence = {"CIDEr": [value - 0.1, value + 0.1]}
        run = write_run(folder.run(trial), {1.0: 2.0, 2.0: 1.0}, overall={"CIDEr": value}, confidence=confidence)
        write_json(run.config_file, {"of": trial.name})
        write_json(run.root / "environment.json", {"python": "3"})
        (run.output / "pytorch_model.bin").write_bytes(trial.name.encode() * 50)
        (run.output / "vocab.json").write_text("{}")
        (run.checkpoints / "checkpoint-200/optimizer.pt").write_bytes(b"x" * 1000)
    return folder, plan


def _weights(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.suffix in (".bin", ".pt"))


def test_promote_copies_the_best_with_its_origin(finished):
    folder, plan = finished
    before = _weights(folder.root)
    said = promote(folder, plan, folder.root / "best")
    assert (said["trial"], said["value"], said["interval"]) == ("002-seed7", 0.5, [0.4, 0.6])
    assert (folder.root / "best/pytorch_model.bin").read_bytes() == b"002-seed7" * 50
    origin = read_json(folder.root / "best" / PROVENANCE)
    assert origin["settings"] == {"train.lr": 2e-3}
    assert origin["config"] == {"of": "002-seed7"}
    assert (origin["seed"], origin["configurations"], origin["split"]) == (7, 3, "val")
    assert (origin["value"], origin["configuration_mean"], origin["interval"]) == (0.5, 0.5, [0.4, 0.6])
    assert set(origin["files_sha256"]) == {"pytorch_model.bin", "vocab.json"}
    assert _weights(folder.root) == sorted([*before, "best/pytorch_model.bin"])


def test_promote_again_checks_and_keeps_what_is_there(finished):
    folder, plan = finished
    first = promote(folder, plan, folder.root / "best")
    origin = (folder.root / "best" / PROVENANCE).read_bytes()
    assert promote(folder, plan, folder.root / "best") == first
    assert (folder.root / "best" / PROVENANCE).read_bytes() == origin


def test_promote_takes_another_trial_by_name(finished, tmp_path):
    folder, plan = finished
    said = promote(folder, plan, tmp_path / "elsewhere/model", trial="001-seed7")
    assert said["value"] == 0.2
    assert (tmp_path / "elsewhere/model/pytorch_model.bin").read_bytes() == b"001-seed7" * 50
    with pytest.raises(
        ValueError, match="--trial 9: no trained trial has that name; trained: 002-seed7, 003-seed7, 001"
    ):
        promote(folder, plan, tmp_path / "other", trial="9")


def test_promote_never_overwrites(finished, tmp_path):
    folder, plan = finished
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/draft.txt").write_text("years of work")
    with pytest.raises(ValueError, match="thesis: is there already and holds something else"):
        promote(folder, plan, tmp_path / "thesis", delete_losers=True)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["draft.txt"]
    assert len(_weights(folder.root)) == 6
    promote(folder, plan, tmp_path / "model")
    with pytest.raises(ValueError, match="holds something else"):
        promote(folder, plan, tmp_path / "model", trial="003-seed7")


def test_losers_lose_weights_only_after_the_best_is_in_place(finished):
    folder, plan = finished
    said = promote(folder, plan, folder.root / "best", delete_losers=True)
    assert said["freed_bytes"] == 2 * (9 * 50 + 1000)
    assert _weights(folder.root) == [
        "best/pytorch_model.bin",
        "trials/002-seed7/checkpoints/checkpoint-200/optimizer.pt",
        "trials/002-seed7/output/pytorch_model.bin",
    ]
    for name in CIDER:  # results and curves stay
        assert (folder.root / "trials" / name / "eval/val.json").exists()
        assert (folder.root / "trials" / name / "metrics.jsonl").exists()
    with pytest.raises(ValueError, match="this sweep is closed"):
        enter_sweep(folder, plan)


@pytest.mark.parametrize("fault", ["copy differs", "does not open"])
def test_losers_keep_everything_if_the_copy_is_not_right(finished, monkeypatch, fault):
    folder, plan = finished
    before = _weights(folder.root)
    if fault == "copy differs":
        copytree = shutil.copytree

        def copy_badly(source, to):
            copytree(source, to)
            (to / "pytorch_model.bin").write_bytes(b"cut")

        monkeypatch.setattr(module.shutil, "copytree", copy_badly)
        message = r"the copy differs from the trained model in pytorch_model\.bin"
    else:
        monkeypatch.setattr(module, "OPEN_MODEL", "raise SystemExit('weights are broken')")
        message = "does not open as a model: weights are broken"
    with pytest.raises(ValueError, match=message):
        promote(folder, plan, folder.root / "best", delete_losers=True)
    assert _weights(folder.root) == before
    assert not (folder.root / "best").exists()
    assert list(folder.root.glob(".best.*")) == []
    assert not folder.closed.exists()


def test_losers_keep_everything_while_a_trial_is_open(finished):
    folder, plan = finished
    (folder.run(plan.trials[2]) / "eval/val.json").unlink()
    before = _weights(folder.root)
    with pytest.raises(ValueError, match="configurations 3 are still open; let the sweep end first"):
        promote(folder, plan, folder.root / "best", delete_losers=True)
    assert _weights(folder.root) == before


def test_a_best_that_was_damaged_afterwards_costs_no_loser(finished):
    folder, plan = finished
    promote(folder, plan, folder.root / "best")
    (folder.root / "best/pytorch_model.bin").write_bytes(b"")
    before = _weights(folder.root)
    with pytest.raises(ValueError, match="holds something else"):
        promote(folder, plan, folder.root / "best", delete_losers=True)
    assert _weights(folder.root) == before


@pytest.mark.parametrize("place", ["trials/003-seed7/output/best", "trials/x", "link/best", "best/../trials/y"])
def test_promote_into_the_trials_is_refused(finished, place):
    """There the model would be deleted with the losers, or taken for a trial."""
    folder, plan = finished
    (folder.root / "link").symlink_to(folder.root / "trials")
    before = _weights(folder.root)
    with pytest.raises(ValueError, match="is inside the trials of the sweep"):
        promote(folder, plan, folder.root / place, delete_losers=True)
    assert _weights(folder.root) == before


def test_deleting_that_was_interrupted_goes_on_with_the_same_command_only(finished, monkeypatch):
    folder, plan = finished
    deleted = []

    def delete_one(run):
        if deleted:
            raise KeyboardInterrupt
        deleted.append(run)
        return delete_weights(run)

    monkeypatch.setattr(module, "delete_weights", delete_one)
    with pytest.raises(KeyboardInterrupt):
        promote(folder, plan, folder.root / "best", delete_losers=True)
    monkeypatch.setattr(module, "delete_weights", delete_weights)
    with pytest.raises(ValueError, match="this sweep is closed"):
        promote(folder, plan, folder.root / "other", delete_losers=True)
    promote(folder, plan, folder.root / "best", delete_losers=True)
    assert [name for name in _weights(folder.root) if name.startswith("trials/") and "002-seed7" not in name] == []
    with pytest.raises(ValueError, match="the weights of 003-seed7 are not there any more"):
        promote(folder, plan, folder.root / "third", trial="003-seed7")


def test_promote_of_several_seeds_tells_the_models_own_number(make_sweep, write_run, monkeypatch):
    monkeypatch.setattr(module, "OPEN_MODEL", OPEN_ANYTHING)
    folder, plan = make_sweep(axes={"train.lr": [1e-3]}, seeds=[1, 2])
    for trial, value in zip(plan.trials, (0.2, 0.4), strict=True):
        run = write_run(folder.run(trial), {2.0: 1.0}, overall={"CIDEr": value})
        write_json(run.config_file, {})
        write_json(run.root / "environment.json", {})
        (run.output / "model.safetensors").write_bytes(b"1")
    said = promote(folder, plan, folder.root / "best")
    assert (said["trial"], said["value"]) == ("001-seed2", 0.4)
    origin = read_json(folder.root / "best" / PROVENANCE)
    assert origin["configuration_mean"] == pytest.approx(0.3)
    assert origin["interval_over"] == "seeds"


def test_promote_without_the_number_to_rank_by_says_so(make_sweep, write_run):
    folder, plan = make_sweep(axes={"train.lr": [1e-3]})
    write_run(folder.run(plan.trials[0]), {2.0: 1.0}, overall={"CIDEr": None})
    with pytest.raises(ValueError, match=r"metric=overall\.CIDEr: is not in the results of the trained trials"):
        promote(folder, plan, folder.root / "best")


def test_delete_weights_does_not_follow_links(tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "model.bin").write_bytes(b"keep me")
    run = Run(tmp_path / "run")
    run.output.mkdir(parents=True)
    os.symlink(precious, run.checkpoints)
    os.symlink(precious / "model.bin", run.output / "pytorch_model.bin")
    os.symlink(precious, run.output / "folder")
    assert delete_weights(run.root) == 0
    assert (precious / "model.bin").read_bytes() == b"keep me"


def test_nothing_is_promoted_from_a_sweep_without_a_trained_trial(make_sweep):
    folder, plan = make_sweep()
    with pytest.raises(ValueError, match="no trial of this sweep is trained yet"):
        promote(folder, plan, folder.root / "best")


def test_check_model_opens_real_models_and_refuses_damaged_ones(start_model, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(start_model, model)
    files = module.hash_files(model)
    check_model(model, files)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"decoder_layers": 7}))
    with pytest.raises(ValueError, match=r"the copy differs from the trained model in config\.json"):
        check_model(model, files)
    with pytest.raises(ValueError, match="does not open as a model: .*decoder"):
        check_model(model, module.hash_files(model))
