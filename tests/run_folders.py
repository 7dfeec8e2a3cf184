"""A run folder as training leaves it, without training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runs.folder import Run
from runs.metrics_log import append_metrics
from utils.io import append_jsonl, encode_json
from utils.manifest import MANIFEST_FILE, encode_manifest

CONFIG = {
    "model": {"preset": "nano"},
    "data": {"format": "jsonl", "styles": ["pirate", "robot"]},
    "train": {"epochs": 3, "lr": 0.5, "seed": 7},
    "checkpoint": {"select": "loss"},
    "work_dir": "w",
}
RESULTS = {
    "overall": {"CIDEr": 0.4, "Bleu_1": 0.7, "SPICE": None},
    "per_style": {"robot": {"CIDEr": 0.3, "n": 1}, "pirate": {"CIDEr": 0.2, "n": 2}},
    "confidence": {"overall": {"CIDEr": [0.3, 0.5]}, "level": 0.95},
    "style": {"accuracy": 0.9},
    "n": 3,
    "provenance": {"split_id": "jsonl/val", "data_sha256": "d" * 64},
    "per_image": {"a": {"image": "a", "CIDEr": 0.4}},
}


@pytest.fixture
def make_run(tmp_path) -> Callable[..., Run]:
    """Writes a run that stands where it is told: ``step`` of 12 steps in 3 epochs, with its model and evaluation."""

    def make(name: str = "run", *, step: int = 12, trained: bool = True, evaluated: bool = True, **config: Any) -> Run:
        run = Run(tmp_path / name)
        _write(run.config_file, CONFIG | config)
        _write(run.commands, b"2026-01-02T03:04:05+00:00 python finetune.py --conf my.json\n")
        data = {"train_sha256": "a" * 64}
        git = {"commit": "c" * 40, "dirty": False}
        _write(run.environment, {"packages": {"torch": "1"}, "git": git, "data": data})
        for number in range(4, step + 1, 4):
            append_metrics(
                run.metrics, number, number / 4, {"train/loss": 9.0 / number, "val/loss": abs(number - 8) + 1}
            )
            _checkpoint(run, number)
        append_jsonl(run.samples, {"global_step": 4, "caption": "arr"})
        if trained:
            _write(run.output / "config.json", {})
        if evaluated:
            _write(run.eval / "val.json", RESULTS)
        return run

    return make


def _checkpoint(run: Run, step: int) -> None:
    about = {"step": step, "max_steps": 12, "epoch": step / 4, "processes": 1, "rows_per_step": 8, "settings": ""}
    about |= {"score": 1.5, "awaits_validation": False}
    _write(run.checkpoint(step) / MANIFEST_FILE, encode_manifest({"model.safetensors": (100, "")}, about))
    (run.checkpoint(step) / "model.safetensors").write_bytes(b"x" * 100)


def _write(file: Path, content: Any) -> None:
    """Without the wait for the disk that files of a run are written with."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else encode_json(content))
