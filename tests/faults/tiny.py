"""A run that takes a second or two, and what must be equal when it was disturbed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from preprocessors.pictures.drawn_scenes import write_drawn_scenes
from runs.checkpoints import complete_steps
from runs.folder import Run
from utils.io import read_json, read_jsonl

SIDE = {"layers": 1, "attention_heads": 2, "ffn_dim": 48}
SHAPE = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in SIDE.items()} | {
    **{"d_model": 32, "resnet_width": 4, "resnet_stem_stride": 2, "image_bucket_size": 4, "token_bucket_size": 8}
}


def write_scenes(folder: Path) -> Path:
    """Twelve training and three validation pictures."""
    write_drawn_scenes(folder, num_train=12, num_val=3, size=32, val_size=32)
    return folder


def document(scenes: Path, workers: int = 0, **train: Any) -> dict[str, Any]:
    """All that draws random numbers is on; three checkpoints in two epochs of 12 steps."""
    return {
        "model": {"preset": "nano", "bpe_size": 300, "overrides": SHAPE},
        "data": {"format": "jsonl", "annotations": str(scenes), "images": str(scenes / "images")},
        "image": {"size": 32, "max_size": 40, "random_crop": True, "feature_cache": str(scenes.parent / "features")},
        "style": {"dropout": 0.3},
        "checkpoint": {"every_epochs": 0.7, "keep_last": 2},
        "train": {"epochs": 2, "batch_size": 4, "lr": 2e-3, "num_workers": workers, **train},
        "decode": {"num_beams": 2, "max_length": 12},
        "eval": {"batch_size": 8, "samples": 2, "report_images": 2, "metrics": ["Bleu_4", "CIDEr"], "neighbours": 0},
    }


def write_conf(document: dict[str, Any], folder: Path, name: str) -> Path:
    """A configuration whose run folder stands beside it."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document | {"work_dir": str(folder / name)}))
    return path


def digest(run: Run) -> dict[str, str]:
    """Hashes by part: weights, optimizer, schedule, captions, best, numbers and samples; times are no part of it."""
    newest = run.checkpoint(complete_steps(run)[0])
    weights = torch.load(run.output / "pytorch_model.bin", weights_only=True)
    states = torch.load(newest / "optimizer.pt", weights_only=True)["state"]
    rows = {file.name: [row for _, row in read_jsonl(file)] for file in (run.metrics, run.samples)}
    for row in rows[run.metrics.name]:
        row.pop("time")
    parts: dict[str, Any] = {
        "weights": [[name, _bytes(tensor)] for name, tensor in sorted(weights.items())],
        "optimizer": [[str(key), name, _bytes(item)] for key, one in states.items() for name, item in one.items()],
        "scheduler": torch.load(newest / "scheduler.pt", weights_only=True)["last_epoch"],
        "captions": read_json(run.eval / "val.captions.json"),
        "best": read_json(run.best),
    } | rows
    return {name: hashlib.sha256(json.dumps(part).encode()).hexdigest()[:12] for name, part in parts.items()}


def _bytes(value: Any) -> str:
    return hashlib.sha256(value.contiguous().numpy().tobytes() if isinstance(value, torch.Tensor) else b"").hexdigest()
