"""What can be said of an installation before any of its packages are imported."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from utils.environment import REPOSITORY, version_of

LEAST_PYTHON = (3, 11)
LEAST_DISK = 5 * 2**30
"""Bytes: packages, a set of photos and a few checkpoints of a small model."""
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)", re.MULTILINE)
PURPOSES = {
    "dev": "the tests",
    "docs": "the site of docs/",
    "lora": "adapters of weights (lora.rank)",
    "quantize": "weights in 8 and 4 bits (lora.quantize)",
    "ray": "sweeps on a Ray cluster",
    "serve": "the service and the Telegram bot",
    "vision": "model.vision=efficientnet_lite0 .. 2",
}
"""What requirements are for that not everybody needs, by the option of scripts/setup.sh."""
Status = Literal["ok", "note", "fault"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    status: Status
    """A fault keeps StyleCap from working as it should; a note matters to some."""
    what: str
    found: str
    advice: str = ""
    """What to do about it; empty where there is nothing to do."""


def examine_installation(work_dir: Path) -> Iterator[Finding]:
    """Python, packages, disk, Java.

    Args:
        work_dir: Where runs are to go; its disk is looked at.
    """
    yield _python()
    if sys.stdout.encoding.lower().replace("-", "") != "utf8":
        yield Finding("note", "console", f"encoding {sys.stdout.encoding}", "PYTHONUTF8=1 shows captions in any script")
    for file in sorted(REPOSITORY.glob("requirements*.txt"), key=lambda path: path.stem):
        yield _packages(file)
    yield _disk(work_dir)
    java = first_line_of("java", "-version")
    if java is None:
        yield Finding("note", "Java", "none", "only the metric SPICE and eval.meteor=java need it, 8 or newer")
    else:
        yield Finding("ok", "Java", java)


def first_line_of(*command: str) -> str | None:
    """What a program says first, on either stream; None if it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines and done.returncode == 0 else None


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info < LEAST_PYTHON:
        return Finding("fault", "Python", version, "needs 3.11 or newer: PYTHON=/path/to/it bash scripts/setup.sh")
    return Finding("ok", "Python", f"{version}, {sys.executable}")


def _packages(file: Path) -> Finding:
    option = file.stem.partition("-")[2]
    pins = dict(PIN.findall(file.read_text("utf-8")))
    there = {name: version_of(name) for name in pins}
    what, setup = f"packages of {file.name}", f"bash scripts/setup.sh{option and f' --{option}'}"
    missing = [name for name, version in there.items() if version is None]
    if option and missing:
        found = f"not installed: {', '.join(missing)}"
        return Finding("note", what, found, f"for {PURPOSES.get(option, option)}: {setup}")
    # Behind a plus torch says which build it is.
    others = [name for name, version in there.items() if version and version.partition("+")[0] != pins[name]]
    if not missing and not others:
        return Finding("ok", what, f"{len(pins)} as pinned")
    told = [f"{name} is missing" for name in missing]
    told += [f"{name} {there[name]} instead of {pins[name]}" for name in others]
    return Finding("fault", what, "; ".join(told), setup)


def _disk(work_dir: Path) -> Finding:
    there = next(path for path in (work_dir.absolute(), *work_dir.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    if not os.access(there, os.W_OK):
        return Finding(
            "fault", "disk", f"{there} cannot be written to", "choose another folder with --set work_dir=..."
        )
    if free < LEAST_DISK:
        advice = "free some; `finetune.py --conf FILE --dry-run` says what a run will take"
        return Finding("note", "disk", f"{free / 2**30:.1f} GiB free in {there}", advice)
    return Finding("ok", "disk", f"{free / 2**30:.1f} GiB free in {there}")
