"""Fixtures of the trainer tests: a configuration, and one optimizer step in this process or in two ranks."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configuration.loading import RunConfig, load_config

HERE = Path(__file__).resolve().parent


@pytest.fixture
def load(tmp_path: Path) -> Callable[[dict[str, Any]], RunConfig]:
    """Writes a document as conf.json and loads it."""

    def write_and_load(document: dict[str, Any]) -> RunConfig:
        path = tmp_path / "conf.json"
        path.write_text(json.dumps(document))
        return load_config(path)

    return write_and_load


@pytest.fixture
def one_step() -> Callable[[Path], dict[str, Any]]:
    """Runs the program one_step.py on a configuration file, in this process."""
    spec = importlib.util.spec_from_file_location("one_step", HERE / "one_step.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda path: module.one_step(load_config(path))


@pytest.fixture
def two_ranks(tmp_path: Path) -> Callable[[Path], list[dict[str, Any]]]:
    """Runs the program one_step.py on a configuration file, under torchrun; gives what each rank wrote."""
    import torch

    def launch(path: Path) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command += [str(HERE / "one_step.py"), str(path), str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=HERE.parents[1])
        assert done.returncode == 0, done.stderr[-3000:]
        return [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]

    return launch


@pytest.fixture
def assert_same() -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Compares two sets of named tensors: gradients or changes of the parameters."""

    def compare(ours: dict[str, Any], others: dict[str, Any]) -> None:
        assert ours.keys() == others.keys()
        assert max(tensor.abs().max().item() for tensor in ours.values()) > 1e-3  # something was compared
        for name, tensor in ours.items():
            # Relative to the tensor: single entries are sums that cancel almost to nothing.
            assert (others[name] - tensor).norm() <= 1e-4 * tensor.norm() + 1e-7, name

    return compare
