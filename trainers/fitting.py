"""How many rows fit into memory at once: found before training starts, and remembered by the run."""

from __future__ import annotations

import logging
import math
import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import torch
from torch import Tensor, nn

from utils.io import read_json, write_json

logger = logging.getLogger(__name__)

FILE_NAME = "memory.json"
SHARE = 0.5
"""Of the free memory of a computer that a batch may take; a Linux kernel kills what takes too much, without a word."""
BACKWARD = 2.0
"""A backward pass at its peak, in terms of what the forward pass keeps for it: gradients stand beside what is kept."""


class FittingRows:
    """The rows that fit, in a file of the run: another start on the same device begins with as many.

    Args:
        folder: Of the run; None remembers nothing.
        device: Of the training.
    """

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        self.file = None if folder is None else folder / FILE_NAME
        self.device = device_name(device)

    def recall(self) -> int | None:
        """Rows that fit, as far as they are known of this device; a file that cannot be read is passed over."""
        if self.file is None or not self.file.is_file():
            return None
        try:
            held = read_json(self.file)
            rows = held["rows_at_once"] if held["device"] == self.device else None
        except (ValueError, KeyError, TypeError):
            logger.warning("%s: cannot be read; finding out again how many rows fit into memory", self.file)
            return None
        return rows if isinstance(rows, int) and rows >= 1 else None

    def smaller(self, rows: int | None) -> int | None:
        """The smaller of two limits, the remembered one and this; None is no limit."""
        known = [limit for limit in (rows, self.recall()) if limit is not None]
        return min(known) if known else None

    def remember(self, rows: int) -> None:
        """Write it down."""
        if self.file is not None and self.file.parent.is_dir():
            write_json(self.file, {"device": self.device, "rows_at_once": rows})


def device_name(device: torch.device) -> str:
    """What tells devices of different memory apart."""
    if device.type != "cuda":
        return device.type
    found = torch.cuda.get_device_properties(device)
    return f"{found.name}, {found.total_memory >> 20} MiB"


def largest_that_fits(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number of rows in [0, most] that fits, all smaller ones fitting too; tries about log2(most) times."""
    if fits(most):
        return most
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def longest_rows(length_of: Callable[[int, int], int], rows: int, wanted: int) -> list[int]:
    """So many of the first epoch's rows, those with most tokens; repeated where there are fewer."""
    longest = sorted(range(rows), key=lambda row: length_of(0, row), reverse=True)[:wanted]
    return (longest * math.ceil(wanted / len(longest)))[:wanted]


def kept_bytes(module: nn.Module, forward: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass keeps for its backward pass, weights not counted; the backward pass is run as well."""
    own = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = forward()
    loss.backward()
    return sum(sizes.values())


def free_bytes() -> int:
    """Memory that this process may still take on the CPU: of the machine, its container and its own limit."""
    found = [psutil.virtual_memory().available]
    found += _container_bytes(Path("/sys/fs/cgroup"))
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(limit - psutil.Process().memory_info().vms)
    return max(min(found), 0)


def _container_bytes(folder: Path) -> list[int]:
    try:
        most, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return [int(most) - int(used)] if most != "max" else []
    except (OSError, ValueError):  # no such container
        return []


def moments(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Memory as Adam will take it at its first step, held for as long as the result is."""
    return [torch.empty_like(parameter) for parameter in parameters if parameter.requires_grad for _ in range(2)]


def describe(rows: int, wanted: int) -> str:
    """What is said of the rows that were found."""
    how = "at once" if rows >= wanted else f"in {math.ceil(wanted / rows)} pieces of at most {rows}"
    return f"{wanted} rows per process and step, {how}"
