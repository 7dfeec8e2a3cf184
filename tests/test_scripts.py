"""The shell scripts: sound bash, and the short forms say what they stand for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = sorted([*(REPOSITORY / "scripts").glob("*.sh"), REPOSITORY / ".ci/run"])


def test_there_are_scripts():
    assert {"sweep.sh", "sweep_xe.sh", "sweep_scst.sh", "eval.sh", "demo.sh"} <= {path.name for path in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script):
    shellcheck = str(Path(sys.executable).with_name("shellcheck"))
    done = subprocess.run([shellcheck, "--external-sources", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_error(script):
    assert "set -euo pipefail" in script.read_text()


@pytest.fixture
def checkout(tmp_path):
    """A folder with the scripts, whose Python says its arguments instead of running anything."""
    folder = tmp_path / "a checkout"
    (folder / "scripts").mkdir(parents=True)
    (folder / ".venv/bin").mkdir(parents=True)
    for script in (REPOSITORY / "scripts").glob("*.sh"):
        (folder / "scripts" / script.name).write_bytes(script.read_bytes())
    (folder / "scripts/setup.sh").write_text("exit 0\n")
    python = folder / ".venv/bin/python"
    python.write_text('#!/usr/bin/env bash\nprintf "<%s>" "$@"\n')
    python.chmod(0o755)
    return folder


def _say(checkout: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(checkout / "scripts" / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd="/", env=os.environ)


@pytest.mark.parametrize(
    ("script", "arguments", "said"),
    [
        ("sweep.sh", ("0,2", "--conf", "a b.json"), "<-m><sweeps><run><0,2><--conf><a b.json>"),
        ("sweep_xe.sh", ("0+1,2", "--dry-run"), "<-m><sweeps><run><0+1,2><--conf><conf/sweep.json><--dry-run>"),
        (
            "sweep_scst.sh",
            ("cpu", "--checkpoint", "a run/output"),
            "<-m><sweeps><run><cpu><--conf><conf/sweep_scst.json><--checkpoint><a run/output>",
        ),
        ("eval.sh", ("0", "a run", "--split", "test"), "<-m><sweeps><eval><0><a run><--split><test>"),
        ("serve.sh", ("--model", "a run"), "<finetune.py><serve><--model><a run>"),
    ],
)
def test_scripts_hand_every_argument_on_as_it_is(checkout, script, arguments, said):
    done = _say(checkout, script, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == said


@pytest.mark.parametrize("script", ["sweep_xe.sh", "sweep_scst.sh"])
def test_short_forms_without_gpu_ids_say_how_they_are_used(checkout, script):
    done = _say(checkout, script)
    assert done.returncode == 2
    assert f"usage: bash scripts/{script} GPU_IDS" in done.stderr
