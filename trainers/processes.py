"""What the processes that train together tell one another: flags and small objects, without a look at the GPU.

They go over a group of their own on gloo: a flag then waits for no kernel, and tensors of training are never mixed with
it. All processes call a function together, at the same place of the program; alone each answers at once.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")

PATIENCE = timedelta(days=1)
"""How long the others wait for one that reads data or scores captions. A process that dies is noticed at once."""


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_joined() else 1


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


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _control() -> Any:
    return _control_of(dist.group.WORLD)


@lru_cache(maxsize=1)
def _control_of(world: Any) -> Any:
    """The group of a world, made when it is first needed: a program may leave one world and join another."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)
