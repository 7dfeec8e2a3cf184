"""What a machine has for training: devices, memory, cores, and which sizes of models they are enough for."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from configuration.groups import ModelConfig
from configuration.schema import choices_of
from models import new_captioner
from models.captioner import NewModel
from pipeline.doctor.installation import Finding, first_line_of
from preprocessors.documents.processes import cores
from trainers.fitting import free_bytes

GIB = 2**30
SHARED = Path("/dev/shm")
"""Batches go through it from the processes that load pictures to the main one."""
LEAST_SHARED = GIB
LEAST_MEMORY = 2 * GIB
LEAST_FILES = 1024
BYTES_TRAINED = 16
"""Of a parameter in training: float32 weight, gradient, and Adam's two moments."""


def examine_machine() -> Iterator[Finding]:
    """GPUs, memory, cores, limits, and what would fit."""
    yield from _devices()
    yield from _memory()
    yield from _limits()
    yield _sizes()


def _devices() -> Iterator[Finding]:
    count = torch.cuda.device_count()
    for number in range(count):
        free, total = torch.cuda.mem_get_info(number)
        formats = "bf16" if torch.cuda.is_bf16_supported() else "no bf16 (train.precision=fp16 or fp32)"
        name = torch.cuda.get_device_properties(number).name
        yield Finding("ok", f"GPU {number}", f"{name}, {free / GIB:.1f} of {total / GIB:.1f} GiB free, {formats}")
    if count > 1:
        yield Finding("note", "GPUs", f"{count} are visible", f"torchrun --nproc_per_node {count} finetune.py ...")
    if count:
        return
    if torch.backends.mps.is_available():
        yield Finding("ok", "GPU", "Apple's")
    elif driver := first_line_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"):
        advice = "install the CUDA build of the pinned torch, or a newer driver"
        yield Finding("fault", "GPU", f"{driver} is there, and torch {torch.__version__} cannot use it", advice)
    else:
        yield Finding("note", "GPU", "none", "the CPU trains small models: model.preset nano or tiny")


def _memory() -> Iterator[Finding]:
    free, whole = free_bytes(), psutil.virtual_memory()
    limited = ", by the limit of a container or a shell" if free < 0.9 * whole.available else ""
    found = f"{free / GIB:.1f} of {whole.total / GIB:.1f} GiB free{limited}"
    if free < LEAST_MEMORY:
        yield Finding("note", "memory", found, "close other programs, or raise the limit; the demo needs 1 GiB")
    else:
        yield Finding("ok", "memory", found)
    if SHARED.is_dir() and (size := shutil.disk_usage(SHARED).total) < LEAST_SHARED:
        advice = "docker run --shm-size=2g, or leave train.num_workers at 0"
        yield Finding("note", "shared memory", f"{size >> 20} MiB in {SHARED}", advice)


def _limits() -> Iterator[Finding]:
    usable, threads = cores(), torch.get_num_threads()
    if threads > usable:
        yield Finding("note", "cores", f"{usable}, for {threads} threads of torch", f"OMP_NUM_THREADS={usable}")
    else:
        yield Finding("ok", "cores", f"{usable}, for {threads} threads of torch")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files < LEAST_FILES:
        yield Finding("note", "open files", f"at most {files}", "ulimit -n 4096, before train.num_workers is raised")


def _sizes() -> Finding:
    """The new models whose weights, gradients and moments leave half of the memory to activations."""
    room = torch.cuda.mem_get_info(0)[0] if torch.cuda.is_available() else free_bytes()
    sizes = {preset: BYTES_TRAINED * count_parameters(preset) for preset in choices_of(ModelConfig, "preset")}
    fitting = [f"{preset} ({size / GIB:.2g} GiB)" for preset, size in sizes.items() if size <= room / 2]
    advice = "without activations; `finetune.py --conf FILE --dry-run` measures a run"
    return Finding("ok" if fitting else "fault", "sizes that can be trained", ", ".join(fitting) or "none", advice)


def count_parameters(preset: str) -> int:
    """Of a new model with a vocabulary of 300 entries; made without memory."""
    with torch.device("meta"):
        module = new_captioner(NewModel(preset, {}, ["a photo"], ["style"], 300, 0, 0)).module
    return sum(parameter.numel() for parameter in module.parameters())
