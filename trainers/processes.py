"""What the processes of one training tell each other beside gradients. Alone, everything is what it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeVar, cast

import torch
import torch.distributed as dist

T = TypeVar("T")


def is_first() -> bool:
    """Whether this process keeps the books: writes checkpoints, records and messages."""
    return not _several() or dist.get_rank() == 0


def agree(flag: bool) -> bool:
    """Whether any process says so; every process must ask, at the same point, and gets the same answer."""
    if not _several():
        return flag
    votes = torch.tensor(int(flag))
    dist.all_reduce(votes, op=dist.ReduceOp.MAX, group=_control_group())
    return bool(votes)


def broadcast(value: T) -> T:
    """What the first process says; every process must ask, at the same point. Values that pickle carries."""
    if not _several():
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0, group=_control_group())
    return held[0]


def from_first(work: Callable[[], T]) -> T:
    """What the first process gets by doing something; an error of its is raised by all, so that none waits for it."""
    value, error = None, None
    if is_first():
        try:
            value = work()
        except Exception as raised:
            if not _several():
                raise
            error = raised
    value, error = broadcast((value, error))
    if error is not None:
        raise error
    return cast(T, value)


def gather(value: T) -> list[T]:
    """What every process says, in order; every process must ask, at the same point. Values that pickle carries."""
    if not _several():
        return [value]
    held: list[T | None] = [None] * dist.get_world_size()
    dist.all_gather_object(held, value, group=_control_group())
    return cast(list[T], held)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@cache
def _control_group() -> dist.ProcessGroup | None:
    # Through the CPU: over the group of the gradients a question would wait for the device at every step.
    return None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
