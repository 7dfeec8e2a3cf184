"""Starts programs on two processes, and never waits for them longer than is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]


@pytest.fixture
def launch() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a Python program under torchrun; a launcher that outlives its time is ended, and its processes with it."""

    def run(
        *command: str | Path, processes: int = 2, timeout: float = 120, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, *LAUNCHER, str(processes), *map(str, command)]
        chosen = os.environ | {"OMP_NUM_THREADS": "1"} | dict(environment or {})
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(program, text=True, cwd=REPOSITORY, env=chosen, **pipes) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.terminate()
                out, err = process.communicate(timeout=60)
                pytest.fail(f"not ended after {timeout} s: {err[-3000:]}")
        return subprocess.CompletedProcess(program, process.returncode, out, err)

    return run


@pytest.fixture
def write(tiny_document: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Writes the tiny configuration under a name, which is that of its run folder too; groups are joined to it."""

    def write_document(name: str, **groups: Mapping[str, Any]) -> Path:
        document = dict(tiny_document)
        for group, values in groups.items():
            joined = {} if "name" in values else document.get(group, {})  # a model is opened or new
            document[group] = joined | dict(values)
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(document | {"work_dir": str(tmp_path / name)}))
        return path

    return write_document
