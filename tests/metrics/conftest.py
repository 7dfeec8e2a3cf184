"""Stand-ins for Java, small scripts that come first on PATH; and logging as it was before a test."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture
def fake_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes ``java`` the given program, alone on PATH; None = there is no Java. Returns the folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(program: str | None, interpreter: str = sys.executable) -> Path:
        if program is not None:
            (folder / "program").write_text(program)
            # Not the interpreter after "#!": its path may hold a space.
            (folder / "java").write_text(f"#!/bin/sh\nexec '{interpreter}' '{folder / 'program'}' \"$@\"\n")
            (folder / "java").chmod(0o755)
        return folder

    return write


@pytest.fixture
def hanging_java(fake_java: Callable[..., Path]) -> Callable[[], list[int]]:
    """Makes ``java`` a script that never ends and has a child. Returns a function that waits for both to run."""
    folder = fake_java(
        'cd "${0%/*}"\n/bin/sleep 1000 &\necho $! > child.part\n/bin/mv child.part child\nwait', "/bin/sh"
    )

    def process_ids() -> list[int]:
        deadline = time.monotonic() + 20
        while not (folder / "child").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        child = int((folder / "child").read_text())
        return [child, int(_status(child).split()[1])]

    return process_ids


@pytest.fixture
def all_ended() -> Callable[[list[int]], bool]:
    """Whether none of these processes runs any more; a signal takes a moment to arrive."""

    def ended(process_ids: list[int]) -> bool:
        deadline = time.monotonic() + 10
        running = process_ids
        while running and time.monotonic() < deadline:
            time.sleep(0.01)
            running = [process_id for process_id in running if _status(process_id)[0] not in "ZX"]
        return not running

    return ended


def _status(process_id: int) -> str:
    """State letter and parent, as the kernel tells; "X" if there is no such process."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].strip()
    except FileNotFoundError:
        return "X"
