"""Places where trials run: one GPU, several GPUs together, or the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CPU = "cpu"
COUNT_GPUS = "import torch; print(torch.accelerator.device_count() if torch.accelerator.is_available() else 0)"


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time.

    Attributes:
        devices: GPU ids, or ``cpu`` once for each process.
    """

    devices: tuple[str, ...]

    def __str__(self) -> str:
        return "+".join(self.devices)

    @property
    def gpus(self) -> tuple[str, ...]:
        """GPU ids; empty on the CPU."""
        return tuple(device for device in self.devices if device != CPU)


def parse_slots(text: str) -> list[Slot]:
    """Slots from ``0,2,3`` (a trial on each GPU), ``0+1,2+3`` (a trial on each pair) or ``cpu,cpu`` (two on the CPU).

    Raises:
        ValueError: If an id is none, stands there twice, or GPUs and CPU meet in one slot.
    """
    slots = [Slot(tuple(part.strip() for part in place.split("+"))) for place in text.split(",")]
    for device in (device for slot in slots for device in slot.devices):
        if device != CPU and not (device.isascii() and device.isdigit()):
            raise ValueError(
                f"GPU_IDS={text}: {device!r} is no id; write GPU numbers or cpu, as in 0,2,3 or 0+1,2+3 or cpu,cpu"
            )
    gpus = [int(device) for slot in slots for device in slot.gpus]
    twice = sorted({gpu for gpu in gpus if gpus.count(gpu) > 1})
    if twice:
        raise ValueError(f"GPU_IDS={text}: GPU {twice[0]} stands there twice; a GPU takes one trial at a time")
    if any(slot.gpus and CPU in slot.devices for slot in slots):
        raise ValueError(f"GPU_IDS={text}: a slot has GPUs or the CPU, not both")
    if len({len(slot.devices) for slot in slots}) > 1:
        raise ValueError(
            f"GPU_IDS={text}: slots differ in size; the rows of a training step depend on it, so that trials could not "
            "be compared"
        )
    return [Slot(tuple(device if device == CPU else str(int(device)) for device in slot.devices)) for slot in slots]


def check_alike(slots: Sequence[Slot], cluster: str) -> None:
    """Refuse slots that differ in what they offer a trial, where a cluster gives all trials the same.

    Raises:
        ValueError: Saying which are possible.
    """
    if len({(len(slot.gpus), len(slot.devices)) for slot in slots}) > 1:
        raise ValueError(
            f"GPU_IDS={','.join(map(str, slots))}: on {cluster} all trials get the same; "
            "make the slots equally wide, as in 0,1 or 0+1,2+3 or cpu,cpu"
        )


def check_gpus(slots: Sequence[Slot]) -> None:
    """Refuse GPUs that this machine does not have.

    Raises:
        ValueError: Naming them and those that there are.
    """
    wanted = sorted({int(gpu) for slot in slots for gpu in slot.gpus})
    if not wanted:
        return
    count = count_gpus()
    absent = [str(gpu) for gpu in wanted if gpu >= count]
    if absent:
        there = f"GPUs 0 to {count - 1}" if count > 1 else "GPU 0 only" if count else "no GPU that torch can use"
        use = f"0 to {count - 1}" if count > 1 else "0" if count else "cpu"
        raise ValueError(f"GPU_IDS: there is no GPU {', '.join(absent)}: this machine has {there}; use {use}")


def count_gpus() -> int:
    """GPUs of this machine that torch can use, whatever CUDA_VISIBLE_DEVICES says; asked in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run([sys.executable, "-c", COUNT_GPUS], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise ValueError(f"GPU_IDS: torch could not count the GPUs:\n{done.stderr.strip()}")
    return int(done.stdout)


def slot_environment(slot: Slot, slots: Sequence[Slot], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What a trial's environment says about its slot.

    Args:
        slot: Where the trial runs.
        slots: All slots that are in use at the same time.
        environment: Of this process; a number of threads that stands there is kept.
    """
    said = {"CUDA_VISIBLE_DEVICES": ",".join(slot.gpus)}
    if slot.gpus:
        said["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi counts; CUDA's own order is the fastest first
    if not slot.gpus and "OMP_NUM_THREADS" not in environment:
        # Without a limit every process takes all cores, and they slow each other down.
        processes = sum(device == CPU for place in slots for device in place.devices)
        said["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // processes))
    return said
