"""What is made to go wrong inside a child process, before it starts."""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from preprocessors.dataset import CaptionDataset
from trainers import checkpoints, processes
from trainers.caption_trainer import StyleCaptionTrainer


def slow_step(seconds: float) -> None:
    """The third optimizer step takes long."""
    usual = StyleCaptionTrainer.training_step

    def step(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == 2:
            sys.stderr.write("a slow step\n")
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                time.sleep(0.05)
        return usual(self, *args, **kwargs)

    StyleCaptionTrainer.training_step = step


def kill_worker(row: int, how: str, flag: str) -> None:
    """A data worker dies (``kill``) or hangs (``hang``) at a row, once: a file says that it has."""
    processes.WORKER_PATIENCE = 2.0
    usual = CaptionDataset.__getitems__

    def get(self: Any, rows: Any) -> Any:
        if self.training and row in rows and not Path(flag).exists():
            Path(flag).touch()
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(1000)
        return usual(self, rows)

    CaptionDataset.__getitems__ = get


def failing(name: str, number: int, times: int, at: int = 1) -> None:
    """A call of the system fails with an error, so many times from the ``at``-th on, while a checkpoint is saved."""
    usual, calls = getattr(os, name), [0]

    def call(*args: Any, **kwargs: Any) -> Any:
        if "checkpoint-" in str(args[0]) or isinstance(args[0], int):
            calls[0] += 1
            if at <= calls[0] < at + times:
                raise OSError(number, os.strerror(number), str(args[0]))
        return usual(*args, **kwargs)

    setattr(os, name, call)
    checkpoints.LOOK_AGAIN = 0.05


def jumping_clock() -> None:
    """Every look at the clock finds it days before or after the last."""
    usual, looks = time.time, [0]

    def now() -> float:
        looks[0] += 1
        return usual() + 86400.0 * ((-1) ** looks[0]) * (looks[0] % 7)

    time.time = now


def quota(flag: str) -> None:
    """No file of a checkpoint can be written (disk quota) until a file says that there is room."""
    usual = checkpoints.CheckpointStore._make_room_aside

    def make(self: Any, aside: Path) -> None:
        if not Path(flag).exists():
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        usual(self, aside)

    checkpoints.CheckpointStore._make_room_aside = make
    checkpoints.LOOK_AGAIN = 0.05


def final_folder_without_room(flag: str) -> None:
    """The final model cannot be written until a file says that there is room."""
    from captioning.styled import StyledCaptioner

    usual = StyledCaptioner.save_to_dir

    def save(self: Any, folder: Path) -> None:
        if folder.name == "output" and not Path(flag).exists():
            checkpoints.shutil.disk_usage = lambda _: type("Usage", (), {"free": 0})
            raise RuntimeError("[enforce fail at inline_container.cc:603] . unexpected pos 64 vs 0")
        usual(self, folder)

    StyledCaptioner.save_to_dir = save
    checkpoints.LOOK_AGAIN = 0.05
