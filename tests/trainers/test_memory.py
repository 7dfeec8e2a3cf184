"""Memory that runs out somewhere in a training changes neither its number of updates nor its weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from configuration.loading import load_config
from pipeline.prepare import prepare
from pipeline.training import build_trainer, training_arguments
from trainers.base import BaseTrainer
from utils.io import read_json, read_jsonl, write_json

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB (injected)"
STEPS = {1: 6, 3: 2}
"""Optimizer steps of two epochs over 12 pictures in 4 styles, 48 rows, by accumulation: see ``document``."""


@pytest.fixture
def document(toy_document: dict[str, Any]) -> dict[str, Any]:
    """A toy without dropout, on rows that share pictures, with masked captions beside them."""
    return toy_document | {
        "train": {"epochs": 1, "batch_size": 8, "lr": 1e-2, "lr_end": 1e-3, "warmup": 0.0, "group_pictures": True},
        "checkpoint": {"every_epochs": 1},
        "decode": {"num_beams": 2, "max_length": 6},
    }


SELF_CRITICAL = {
    "scst": {
        "enabled": True,
        "num_samples": 3,
        "rewards": {"cider_d": 1.0, "length": 1.0},
        "cross_entropy_weight": 0.5,
        "freeze_embeddings": False,
    }
}


class Place:
    """Where memory runs out: once, at a step, a micro-batch and a phase."""

    def __init__(self, step: int, micro: int, phase: str) -> None:
        self.step, self.micro, self.phase = step, micro, phase
        self.struck = 0

    def strike(self, trainer: BaseTrainer) -> bool:
        if self.struck or (trainer.state.global_step, trainer._micro_step - 1) != (self.step, self.micro):
            return False
        self.struck += 1
        return True


@contextmanager
def running_out(trainer: BaseTrainer, place: Place) -> Iterator[None]:
    """Raises as CUDA's allocator does in the middle of a phase, after some of its work."""
    captioner = type(trainer.captioner)
    with pytest.MonkeyPatch.context() as patch:
        if place.phase in ("encode", "logits", "sample"):
            usual = getattr(captioner, place.phase)

            def work(self: Any, *args: Any, **kwargs: Any) -> Any:
                made = usual(self, *args, **kwargs)
                if trainer.model.training or place.phase == "sample" or torch.is_grad_enabled():
                    _strike(trainer, place)
                return made

            patch.setattr(captioner, place.phase, work)
        elif place.phase == "backward":

            def fall(gradient: Tensor) -> Tensor:
                _strike(trainer, place)
                return gradient

            trainer.model.words.weight.register_hook(fall)
        elif place.phase == "validation":
            usual_losses = type(trainer)._row_losses

            def losses(self: Any, inputs: Any, rows: Any) -> Any:
                if not place.struck:
                    place.struck = 1
                    raise torch.OutOfMemoryError(FULL)
                return usual_losses(self, inputs, rows)

            patch.setattr(type(trainer), "_row_losses", losses)
        else:
            beams = captioner.beams

            def search(self: Any, *args: Any, **kwargs: Any) -> Any:
                if not place.struck:
                    place.struck = 1
                    raise torch.OutOfMemoryError(FULL)
                return beams(self, *args, **kwargs)

            patch.setattr(captioner, "beams", search)
        yield


def _strike(trainer: BaseTrainer, place: Place) -> None:
    if place.strike(trainer):
        raise torch.OutOfMemoryError(FULL)


def make(document: dict[str, Any], tmp_path: Path, name: str, **changes: Any) -> BaseTrainer:
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(document | changes | {"work_dir": str(tmp_path / name)}))
    config = load_config(path)
    config.work_dir.mkdir(exist_ok=True)
    args = training_arguments(config)
    args.report_to = []
    return build_trainer(args, prepare(config))


def finish(trainer: BaseTrainer) -> dict[str, Any]:
    """Weights, moments, and what was logged."""
    trainer.train()
    moments = trainer.optimizer.state_dict()["state"]
    return {
        "steps": trainer.state.global_step,
        "weights": {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()},
        "moments": {f"{key}/{name}": tensor for key, entry in moments.items() for name, tensor in entry.items()},
        "logged": [
            {name: value for name, value in row.items() if "runtime" not in name and "per_second" not in name}
            for row in trainer.state.log_history
        ],
        "captions": read_rows(trainer),
    }


def read_rows(trainer: BaseTrainer) -> list[Any]:
    return [row for _, row in read_jsonl(trainer.validation.samples_file)]


def assert_same(whole: dict[str, Any], pieced: dict[str, Any]) -> None:
    assert pieced["steps"] == whole["steps"]
    assert pieced["captions"] == whole["captions"]
    assert len(pieced["logged"]) == len(whole["logged"])
    for ours, theirs in zip(pieced["logged"], whole["logged"], strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - {"distinct_2", "total_flos"}:  # of word pairs within a piece
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name
    for name, tensor in whole["weights"].items():
        # float32 sums of the same terms in another order: a few roundings of 6e-8 a step, of which Adam's division
        # makes at most as many parts of a step of 1e-2.
        assert (pieced["weights"][name] - tensor).abs().max() <= 2e-6, name
    for name, tensor in whole["moments"].items():
        if not name.endswith("step"):
            assert (pieced["moments"][name] - tensor).norm() <= 1e-4 * tensor.norm() + 1e-9, name
        else:
            assert torch.equal(pieced["moments"][name], tensor)


CROSS_ENTROPY = [
    *((1, step, 0, phase) for step in range(6) for phase in ("encode", "logits", "backward")),
    *((3, step, micro, phase) for step in range(2) for micro in range(3) for phase in ("encode", "backward")),
    *((accumulation, -1, 0, phase) for accumulation in (1, 3) for phase in ("validation", "captions")),
]
REWARDS = [
    *((1, step, 0, phase) for step in range(6) for phase in ("sample", "logits", "backward")),
    *((3, step, micro, phase) for step in range(2) for micro in range(3) for phase in ("sample", "backward")),
]


@pytest.mark.parametrize(
    ("kind", "places"),
    [
        ("cross-entropy", CROSS_ENTROPY[::24] + CROSS_ENTROPY[-3:-1]),
        ("rewards", REWARDS[::24]),
        pytest.param("cross-entropy", CROSS_ENTROPY, marks=pytest.mark.slow),
        pytest.param("rewards", REWARDS, marks=pytest.mark.slow),
    ],
)
def test_memory_that_runs_out_anywhere_leaves_updates_weights_and_log_as_they_were(document, tmp_path, kind, places):
    """At 64 places, each reached; the micro-batches of 8 rows are done in pieces of 4 from there on."""
    if kind == "rewards":
        document |= SELF_CRITICAL | {"masked_lm": {}, "checkpoint": {"every_epochs": 1, "select": "loss"}}
    whole = {}
    for number, (accumulation, step, micro, phase) in enumerate(places):
        changes = {"train": document["train"] | {"accumulation_steps": accumulation}}
        if accumulation not in whole:
            whole[accumulation] = finish(make(document, tmp_path, f"whole{accumulation}", **changes))
            assert whole[accumulation]["steps"] == STEPS[accumulation]
        trainer, place = make(document, tmp_path, f"run{number}", **changes), Place(step, micro, phase)
        with running_out(trainer, place):
            pieced = finish(trainer)
        assert place.struck == 1, (accumulation, step, micro, phase)
        expected = {"validation": (None, 4, None), "captions": (None, None, 1)}.get(phase, (4, None, None))
        found = (trainer.pieces.halving.rows, trainer.validating.rows, trainer.validation.writer.memory.rows)
        assert found == expected, (accumulation, step, micro, phase)
        if phase in ("validation", "captions"):
            assert_bitwise(whole[accumulation], pieced)
        else:
            assert_same(whole[accumulation], pieced)


def assert_bitwise(whole: dict[str, Any], pieced: dict[str, Any]) -> None:
    for name, tensor in whole["weights"].items():
        assert torch.equal(tensor, pieced["weights"][name]), name
    assert pieced["captions"] == whole["captions"]
    losses = [[row["eval_loss"] for row in run["logged"] if "eval_loss" in row] for run in (whole, pieced)]
    assert losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_auto_is_a_run_with_the_rows_that_were_asked_for(document, tmp_path):
    """Finding out how many rows fit leaves no trace in weights, moments or logs; where all fit, nothing is divided."""
    plain = finish(make(document, tmp_path, "plain"))
    asked = {"batch_size": "auto", "global_batch_size": 8}
    trainer = make(document, tmp_path, "auto", train=document["train"] | asked)
    found = finish(trainer)
    assert trainer.pieces.halving.rows == 8
    assert read_json(tmp_path / "auto/memory.json") == {"device": "cpu", "rows_at_once": 8}
    for part in ("weights", "moments"):
        assert all(torch.equal(tensor, found[part][name]) for name, tensor in plain[part].items())
    assert found["steps"] == plain["steps"]


def test_rows_that_are_known_to_fit_are_not_sought_again(document, tmp_path, monkeypatch):
    asked = document["train"] | {"batch_size": "auto", "global_batch_size": 8}
    (tmp_path / "auto").mkdir()
    write_json(tmp_path / "auto/memory.json", {"device": "cpu", "rows_at_once": 2})
    monkeypatch.setattr("trainers.base.find_rows", lambda *_: pytest.fail("sought again"))
    trainer = make(document, tmp_path, "auto", train=asked)
    assert finish(trainer)["steps"] == 6
    assert trainer.pieces.halving.rows == 2
