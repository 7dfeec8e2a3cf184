"""Sweep files that load in milliseconds, and run folders as trials leave them, without any training."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from runs.folder import Run
from sweeps.trials.folder import SweepFolder, enter_sweep
from sweeps.trials.plan import Plan, load_plan
from utils.io import append_jsonl, write_json

STEPS_PER_EPOCH = 100
BASE = {
    "model": {"preset": "nano"},
    "data": {"format": "drawn_scenes"},
    "train": {"epochs": 2, "lr": 1e-3, "lr_end": 1e-5},
    "checkpoint": {"every_epochs": 0.5},
}


@pytest.fixture
def write_sweep(tmp_path: Path) -> Callable[..., Path]:
    """Writes ``grid.json`` and the configuration that it starts from, ``conf.json``; returns the sweep file.

    Fields of the sweep file are given by name and win over a grid of three learning rates; ``base_document`` replaces
    the content of conf.json.
    """

    def write(*, base_document: Any = BASE, **fields: Any) -> Path:
        base, path = tmp_path / "conf.json", tmp_path / "grid.json"
        base.write_text(json.dumps(base_document))
        document = {"base": str(base), "axes": {"train.lr": [1e-3, 2e-3, 3e-3]}} | fields
        path.write_text(json.dumps(document))
        return path

    return write


@pytest.fixture
def make_plan(write_sweep: Callable[..., Path]) -> Callable[..., Plan]:
    """Loads the plan of a sweep file whose fields are given as to ``write_sweep``."""
    return lambda **fields: load_plan(write_sweep(**fields))


@pytest.fixture
def make_sweep(make_plan: Callable[..., Plan], tmp_path: Path) -> Callable[..., tuple[SweepFolder, Plan]]:
    """Makes the folder ``sweep`` of a sweep file whose fields are given as to ``write_sweep``."""

    def make(**fields: Any) -> tuple[SweepFolder, Plan]:
        folder, plan = SweepFolder(tmp_path / "sweep"), make_plan(**fields)
        folder.root.mkdir(exist_ok=True)
        enter_sweep(folder, plan)
        return folder, plan

    return make


@pytest.fixture
def write_run(seal_checkpoint: Callable[..., None]) -> Callable[..., Run]:
    """Writes what a trial leaves in its run folder; a second call on the same folder adds to it.

    Args:
        root: The run folder.
        nll: By epoch the likelihood (nats per token) of a validation; an epoch has 100 steps. Before each stands a
            row of training, with the loss 1 higher.
        cider: By epoch CIDEr of the same validations, if checkpoints are chosen by it.
        saved: Whether each validation is followed by its checkpoint.
        overall: Metrics of the trained model; given, the run has its ``output`` and results.
        confidence: Intervals of these metrics.
        split: Of the results.
    """

    def write(
        root: Path,
        nll: Mapping[float, float] = {},
        *,
        cider: Mapping[float, float] = {},
        saved: bool = True,
        overall: Mapping[str, float | None] | None = None,
        confidence: Mapping[str, list[float]] | None = None,
        split: str = "val",
    ) -> Run:
        run = Run(root)
        for epoch, value in nll.items():
            place = {"global_step": round(epoch * STEPS_PER_EPOCH), "epoch": round(epoch, 4)}
            append_jsonl(run.metrics, place | {"train/loss": value + 1, "train/lr": 1e-3})
            scored = {"val/CIDEr": cider[epoch]} if epoch in cider else {}
            append_jsonl(run.metrics, place | {"val/loss": value + 0.5, "val/nll": value} | scored)
            if saved:
                seal_checkpoint(run.checkpoint(int(place["global_step"])), max_steps=2 * STEPS_PER_EPOCH)
        if overall is not None:
            run.output.mkdir(parents=True, exist_ok=True)
            write_json(run.eval / f"{split}.json", {"overall": overall, "confidence": {"overall": confidence or {}}})
        return run

    return write
