"""A text run of seconds: two dozen documents in two styles, a model of one size."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configuration.loading import RunConfig, load_config

ANIMALS, THINGS = ("cat", "dog", "hen", "cow"), ("mat", "roof", "sea")


def write_documents(folder: Path) -> Path:
    """Plain sentences, and pirates' ones with an arr."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = [f"the {animal} sat on the {thing} and slept." for animal in ANIMALS for thing in THINGS]
    rows = [{"body": body, "meta": "neutral"} for body in plain]
    rows += [{"body": f"arr, {body}", "meta": "pirate"} for body in plain]
    for name, part in (("train", rows[::2] + rows[1::4]), ("val", rows[3::4])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return folder


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("documents"))


@pytest.fixture(scope="session")
def write_text(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunConfig]:
    """Writes and loads the configuration of a run of so many seconds; groups given by name are joined to it."""
    kept = tmp_path_factory.mktemp("encoded")

    def load(work_dir: Path, **groups: Any) -> RunConfig:
        document: dict[str, Any] = {
            "task": "text",
            "model": {"preset": "nano", "bpe_size": 300},
            "documents": {
                "format": "jsonl",
                "train": str(documents / "train.jsonl"),
                "val": str(documents / "val.jsonl"),
                "codes": "styles",
                "encoded": str(kept),
            },
            "lm": {"positions": 48, "sample_num": 2, "sample_length": 8, "hit_places": 20},
            "train": {"epochs": 4, "batch_size": 2, "lr": 3e-3, "report_to": []},
            "work_dir": str(work_dir),
        }
        for name, values in groups.items():
            document[name] = document.get(name, {}) | values if isinstance(values, dict) else values
        path = work_dir.with_suffix(".json")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
        return load_config(path)

    return load


@pytest.fixture(scope="session")
def run_text() -> Callable[[RunConfig], dict[str, Any]]:
    """Starts a text run, or goes on with it."""
    from pipeline.text.run import train_text
    from utils.signals import stopping_as_on_ctrl_c

    def start(config: RunConfig, pause_after: float | None = None) -> dict[str, Any]:
        with stopping_as_on_ctrl_c():
            return train_text(config, ["finetune.py"], config.work_dir.with_suffix(".json"), pause_after)

    return start
