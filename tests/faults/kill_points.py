"""Counts every call that changes files, and ends the process at one of them, with what ``kill -9`` would leave."""

from __future__ import annotations

import builtins
import functools
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

KILLED = 137
CHANGES = ("rename", "replace", "mkdir", "unlink", "rmdir", "fsync")


class KillPoints:
    """Ends the process before, in the midst of, or after the ``at``-th change below a folder.

    ``os._exit`` runs no ``finally``, no handler and no buffer's last write: what is on the disk then is what a SIGKILL
    leaves.

    Args:
        below: Changes of other files do not count; None counts all.
        at: From 1; 0 only counts.
        tally: File that the count is written into when :meth:`note` is called.
    """

    def __init__(self, below: str | None, at: int, tally: str | None = None) -> None:
        self.below, self.at, self.tally, self.count, self.names = below, at, tally, 0, []

    def install(self) -> KillPoints:
        for name in CHANGES:
            setattr(os, name, self._counted(name, getattr(os, name)))
        shutil.rmtree = self._counted("rmtree", shutil.rmtree)
        safetensors.torch.serialize_file = self._written(safetensors.torch.serialize_file, path_at=1)
        torch.save = self._written(torch.save, path_at=1)
        builtins.open = io.open = self._opened(io.open)
        return self

    def note(self) -> None:
        if self.tally is not None:
            Path(self.tally).write_text("\n".join(self.names))

    def hit(self, name: str) -> bool:
        self.count += 1
        self.names.append(name)
        return self.count == self.at

    def _is_ours(self, target: Any) -> bool:
        if self.below is None:
            return True
        try:
            if isinstance(target, int):
                target = os.readlink(f"/proc/self/fd/{target}")
            return os.fspath(target).startswith(self.below)
        except (OSError, TypeError):
            return False

    def _counted(self, name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(usual)
        def call(target: Any, *args: Any, **kwargs: Any) -> Any:
            # shutil removes what is inside a folder by names relative to an open one.
            ours = "dir_fd" in kwargs and kwargs["dir_fd"] is not None or self._is_ours(target)
            if ours and self.hit(f"before {name}"):
                if name == "fsync":
                    _lose_half(target)
                os._exit(KILLED)
            result = usual(target, *args, **kwargs)
            if ours and self.hit(f"after {name}"):
                os._exit(KILLED)
            return result

        return call

    def _written(self, usual: Callable[..., Any], path_at: int) -> Callable[..., Any]:
        @functools.wraps(usual)
        def call(*args: Any, **kwargs: Any) -> Any:
            path = args[path_at] if len(args) > path_at else kwargs.get("f", kwargs.get("filename"))
            if not self._is_ours(path):
                return usual(*args, **kwargs)
            if self.hit(f"before {usual.__name__}"):
                os._exit(KILLED)
            result = usual(*args, **kwargs)
            if self.hit(f"in {usual.__name__}"):
                os.truncate(path, os.stat(path).st_size // 2)
                os._exit(KILLED)
            if self.hit(f"after {usual.__name__}"):
                os._exit(KILLED)
            return result

        return call

    def _opened(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(usual)
        def call(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            writes = any(letter in mode for letter in "wxa+") and self._is_ours(file)
            if writes and self.hit("before open"):
                os._exit(KILLED)
            opened = usual(file, mode, *args, **kwargs)
            if writes and self.hit("after open"):
                os._exit(KILLED)
            return opened

        return call


def _lose_half(descriptor: int) -> None:
    """What a power cut leaves of a file that was not yet written to the disk."""
    path = Path(f"/proc/self/fd/{descriptor}").resolve()
    if path.is_file():
        os.truncate(path, path.stat().st_size // 2)
