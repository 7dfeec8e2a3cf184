"""Where the program runs: versions, machine and commit, for the record."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = tuple(sorted(path.parent.name for path in REPOSITORY.glob("*/__init__.py")))
"""Our packages: every folder beside finetune.py that is one."""
RECORDED_DISTRIBUTIONS = (
    *("torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "pillow"),
    *("modelscope", "pycocoevalcap", "peft"),
)
"""What weights and scores depend on."""


def describe_environment() -> dict[str, Any]:
    """Versions, machine and commit; a version is None where the package is not installed, git where there is none."""
    return {
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in RECORDED_DISTRIBUTIONS},
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "processes": int(os.environ.get("WORLD_SIZE", "1")),  # torchrun's own command line is not in ours
        "git": _describe_commit(REPOSITORY),
    }


def version_of(distribution: str) -> str | None:
    """Version of an installed package; None if it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _describe_commit(folder: Path) -> dict[str, Any] | None:
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
