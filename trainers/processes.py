"""What the processes that train together tell one another: flags and small objects, without a look at the GPU.

They go over a group of their own on gloo: a flag then waits for no kernel, and tensors of training are never mixed with
it. All processes call a function together, at the same place of the program; alone each answers at once.
"""

from __future__ import annotations

import gc
import os
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist

from utils import exit_codes
from utils.errors import Ending, Fault, Stopped, first_line
from utils.signals import leaving_soon

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""How long the others wait for one that reads data or scores captions. A process that dies is noticed at once."""


LOST = re.compile(r"gloo|nccl|connection (was )?(closed|reset|refused)|broken pipe|socket", re.IGNORECASE)
"""In what a collective raises when a process that it waits for is gone."""
WORKER_LOST = re.compile(r"DataLoader worker .* (is killed by signal|exited unexpectedly)")
"""In what PyTorch raises when a process that loads data is gone, wherever the program is at that moment."""
WORKER_SILENT = re.compile(r"DataLoader timed out after")
"""In what PyTorch raises when no batch has come for :data:`WORKER_PATIENCE`."""
WORKER_PATIENCE = 900.0
"""Seconds that a batch may take to load; a network drive that is gone would otherwise be waited for without end."""


class EndedByFirst(Ending):
    """Rank 0 could not do what the others waited for.

    Args:
        message: What it said.
        exit_code: What it ends with.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(f"rank 0 ended this run: {message}")
        self.exit_code = exit_code


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_joined() else 1


def is_first() -> bool:
    """Whether this process keeps the books: writes checkpoints, records and messages."""
    return not _is_joined() or dist.get_rank() == 0


def agree(flag: bool) -> bool:
    """Whether the flag is up in any process; all get the same answer."""
    if world_size() == 1:
        return flag
    raised = torch.tensor(int(flag))
    dist.all_reduce(raised, dist.ReduceOp.MAX, group=_control())
    return bool(raised.item())


def broadcast(item: T) -> T:
    """What the process of rank 0 gave, in all of them; it can be pickled."""
    if world_size() == 1:
        return item
    items = [item]
    dist.broadcast_object_list(items, src=0, group=_control())
    return items[0]


def on_first(work: Callable[[], T]) -> T:
    """Let rank 0 alone do something; the others wait for it, and end with it if it fails.

    Args:
        work: Returns what can be pickled.

    Returns:
        What it returned, in all processes.

    Raises:
        EndedByFirst: In the others, if it raised; rank 0 raises on.
    """
    if world_size() == 1:
        return work()
    result, failure = None, None
    if is_first():
        try:
            result = work()
        except BaseException as error:
            broadcast((None, (first_line(error), _exit_code_of(error))))
            raise
    result, failure = broadcast((result, failure))
    if failure is not None:
        raise EndedByFirst(*failure)
    return result  # type: ignore[return-value]


def _exit_code_of(error: BaseException) -> int:
    if isinstance(error, Ending):
        return error.exit_code
    return exit_codes.BAD_INPUT if isinstance(error, ValueError | OSError) else exit_codes.FAULT


def gather(item: T) -> list[T]:
    """What every process gave, in order, in all of them; it can be pickled."""
    if world_size() == 1:
        return [item]
    items: list[T | None] = [None] * world_size()
    dist.all_gather_object(items, item, group=_control())
    return cast(list[T], items)


@contextmanager
def ending_with_the_others() -> Iterator[None]:
    """End with one message where another process, of training or of loading data, has ended in the middle of its work.

    That process says why, on its own standard error; what a collective raises here says only that it is gone. Where all
    come to the end of their work, they leave one another before the program goes.
    """
    try:
        yield
    except Stopped as stopped:  # agreed upon: all of them come here
        traceback.clear_frames(stopped.__traceback__)  # the trainer is to go first
        _leave()
        raise
    except RuntimeError as error:
        if WORKER_LOST.search(str(error)):
            raise Fault(
                f"a process that loads data has died ({first_line(error)}); the system ends one where memory is short: "
                "fewer of them need less, --set train.num_workers=... The same command goes on from the last checkpoint"
            ) from error
        if WORKER_SILENT.search(str(error)):
            raise Fault(
                f"no batch came for {WORKER_PATIENCE:g} s from the processes that load data: are the pictures still "
                "within reach? The same command goes on from the last checkpoint"
            ) from error
        together = max(world_size(), int(os.environ.get("WORLD_SIZE", "1")))  # it may have died before all had met
        if together == 1 or not (isinstance(error, dist.DistError) or LOST.search(str(error))):
            raise
        raise Fault(
            f"rank {os.environ.get('RANK', '0')}: another process of this run has ended, and its own message says why; "
            "the same command goes on from the last checkpoint"
        ) from error
    else:
        _leave()


def _leave() -> None:
    # The threads of a group that lives on until the interpreter ends may abort it, after all work was done. They end
    # with the last reference to the group: that of the cache, and those of a wrapped model in cycles of a trainer.
    if _is_joined():
        _control_of.cache_clear()
        dist.destroy_process_group()
        gc.collect()


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _control() -> Any:
    return _control_of(dist.group.WORLD)


@lru_cache(maxsize=1)
def _control_of(world: Any) -> Any:
    """The group of a world, made when it is first needed: a program may leave one world and join another."""
    with leaving_soon():
        return dist.new_group(backend="gloo", timeout=PATIENCE)
