"""Fixtures that every test package shares."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
TINY_SIDE = {"layers": 1, "attention_heads": 2, "ffn_dim": 48}
TINY_SHAPE = {"d_model": 32, "resnet_width": 4, "resnet_stem_stride": 2, "image_bucket_size": 4, "token_bucket_size": 8}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what compares with the official Java programs where they cannot run."""
    if item.get_closest_marker("java") and shutil.which("java") is None:
        pytest.skip("no Java runtime on PATH")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with the golden numbers and the real data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("STYLECAP_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no shared data at {folder}; set STYLECAP_SHARED to the folder that holds golden/ and data/")
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 12 training and 3 validation pictures of 32 pixels, in four styles, as JSONL."""
    from preprocessors.drawn_scenes import write_drawn_scenes

    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_drawn_scenes(folder, num_train=12, num_val=3, size=32, val_size=32)
    return folder


@pytest.fixture
def tiny_document(scenes: Path, tmp_path: Path) -> dict[str, Any]:
    """Configuration of a run that takes seconds: a model of 40,000 parameters on the scenes."""
    shape = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in TINY_SIDE.items()}
    return {
        "model": {"preset": "nano", "bpe_size": 300, "overrides": TINY_SHAPE | shape},
        "data": {"format": "jsonl", "annotations": str(scenes), "images": str(scenes / "images")},
        "image": {"size": 32},
        "train": {"epochs": 2, "batch_size": 8, "lr": 2e-3},
        "decode": {"num_beams": 2, "max_length": 12},
        "eval": {"batch_size": 8, "samples": 2, "report_images": 2, "metrics": ["Bleu_4", "CIDEr"]},
        "work_dir": str(tmp_path / "run"),
    }
