"""A checkout with nothing in it but the entry point and a stand-in for finetune.py, and a Python without packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = str(Path(sys.executable).resolve())
"""The interpreter below .venv: the standard library alone."""


class BareCheckout:
    """The entry point as a container has it, with no variables but those of the test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = PYTHON
        self.user: int | None = None
        self.started: list[subprocess.Popen[str]] = []
        for name in ("container", "utils", "conf", "work_dir"):
            (folder / name).mkdir(parents=True)
        for path in [*(REPOSITORY / "container").glob("*.py"), REPOSITORY / "utils/exit_codes.py"]:
            shutil.copyfile(path, folder / path.relative_to(REPOSITORY))
        shutil.copyfile(REPOSITORY / "conf/schema.json", folder / "conf/schema.json")
        shutil.copyfile(REPOSITORY / "tests/container/stand_in.py", folder / "finetune.py")
        self.end_with("0")

    def end_with(self, *endings: str) -> None:
        """How the stand-in ends, in turn."""
        (self.folder / "endings").write_text("\n".join(endings))

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start the entry point; ``TASK`` and ``CONF`` have values unless they are given."""
        environment = {"CONF": "conf/demo.json", "RESTART_PAUSE": "0.05"} | variables
        command = [self.python, "-B", "-m", "container.entrypoint", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.started.append(subprocess.Popen(command, cwd=self.folder, env=environment, user=self.user, **pipes))
        return self.started[-1]

    def run(self, *arguments: str, **variables: str) -> tuple[int, str]:
        """Exit code and standard error."""
        process = self.start(*arguments, **variables)
        _, told = process.communicate(timeout=60)
        return process.returncode, told

    @property
    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "work_dir/calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def settings(self) -> list[str]:
        """What the last call was given with ``--set``, but for the run folder."""
        arguments = self.calls[-1]["arguments"]
        pairs = zip(arguments, arguments[1:], strict=False)
        return [value for word, value in pairs if word == "--set" and not value.startswith("work_dir=")]


def end_all(started: Sequence[subprocess.Popen[str]]) -> None:
    """End what a failed test has left, with what it started itself."""
    for process in started:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=150)


def wait_until(holds: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)
