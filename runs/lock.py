"""One program at a time in a run folder, however the one before it ended."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from filelock import FileLock, Timeout

from runs.folder import Run
from utils.errors import Locked
from utils.io import read_json, write_json


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Hold the lock of a run folder, which is made if it is not there.

    The system takes the lock from a process that ends, even from one that is killed: nothing needs to be cleared away.

    Raises:
        Locked: If another process holds it; names the other.
        ValueError: If the folder cannot be written.
    """
    try:
        run.root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(run.lock)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Locked(
            f"{run.root}: {_describe(read_holder(run))} works in this folder. Wait for it, end it, or give another "
            "work_dir"
        ) from error
    except OSError as error:
        raise ValueError(f"work_dir={run.root}: cannot be written ({error.strerror}); give another folder") from error
    try:
        started = datetime.now().astimezone().isoformat(timespec="seconds")
        write_json(run.lock_holder, {"pid": os.getpid(), "host": platform.node(), "started": started})
        yield
    finally:
        run.lock_holder.unlink(missing_ok=True)
        lock.release()


def is_locked(run: Run) -> bool:
    """Whether some process works in a run folder; leaves no trace there."""
    if not run.lock.exists():
        return False
    try:
        with FileLock(run.lock, timeout=0):
            return False
    except (Timeout, OSError):
        return True


def read_holder(run: Run) -> dict[str, Any]:
    """``pid``, ``host`` and ``started`` of the process that holds the lock; empty if it is not known."""
    try:
        holder = read_json(run.lock_holder)
    except (ValueError, OSError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _describe(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')}, started {holder.get('started')},"
