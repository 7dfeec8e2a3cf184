"""Weights, gradients and optimizer dealt out to the processes: PyTorch's ``fully_shard`` (FSDP2), on GPUs and CPUs.

Asked for as with any program of accelerate: ``accelerate launch`` with FSDP, or its variable by hand. Trainer and
accelerate see a module that was sharded before they got it, and leave it alone: accelerate's own wrapping gives tied
embeddings a group of their own, and a model that uses their weight without calling them meets half a tensor.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.utils._pytree import tree_map

from models.captioner import Captioner

SWITCH = "ACCELERATE_USE_FSDP"
TAKEN = "STYLECAP_SHARDED"
"""Where the wish is kept once it is taken away from accelerate."""
REFUSED = {
    "FSDP_VERSION": ("1", "fsdp_version: 2"),
    "FSDP_OFFLOAD_PARAMS": ("true", "fsdp_offload_params: false"),
    "FSDP_ACTIVATION_CHECKPOINTING": ("true", "fsdp_activation_checkpointing: false"),
    "FSDP_CPU_RAM_EFFICIENT_LOADING": ("true", "fsdp_cpu_ram_efficient_loading: false"),
    "FSDP_STATE_DICT_TYPE": ("SHARDED_STATE_DICT", "fsdp_state_dict_type: FULL_STATE_DICT"),
}
"""Of accelerate's settings: what is not done here, and what to write instead."""


def take_wish(precision: str) -> None:
    """Take the wish for sharding away from accelerate, if there is one: it would shard again.

    Args:
        precision: ``train.precision``.

    Raises:
        ValueError: If it asks for something beside it that is not done here.
    """
    if os.environ.get(SWITCH, "false").lower() != "true":
        return
    for name, (value, instead) in REFUSED.items():
        if os.environ.get(name, "").lower() == value.lower():
            raise ValueError(f"{name}={os.environ[name]}: not done here; give accelerate {instead}")
    if precision == "fp16":
        raise ValueError("train.precision=fp16: not with FSDP; use bf16, auto or fp32")
    if "RANK" not in os.environ:
        raise ValueError(f"{SWITCH}=true: one process has nobody to share with; use accelerate launch or torchrun")
    os.environ |= {SWITCH: "false", TAKEN: "true"}


def is_wished() -> bool:
    """Whether the weights are to be dealt out."""
    return os.environ.get(TAKEN) == "true"


def trainable_copy(captioner: Captioner) -> Captioner:
    """A copy of a captioner, the same parts of it frozen."""
    copied = captioner.frozen_copy()
    for own, original in zip(copied.module.parameters(), captioner.module.parameters(), strict=True):
        own.requires_grad_(original.requires_grad)
    return copied


class Shards:
    """A module that is trained in shards, and the same one whole, which holds weights only while somebody needs them.

    Args:
        whole: Everybody's view: samples, captions, what is saved. Without weights outside :meth:`gathered`.
        sharded: A copy of it, sharded in place. Trained.
    """

    def __init__(self, whole: nn.Module, sharded: nn.Module) -> None:
        self.whole, self.sharded = whole, sharded
        _shard(sharded)
        self._release()

    def gather(self) -> None:
        """Give the whole module the trained weights and running statistics; all processes together."""
        for name, target in _tensors(self.whole).items():
            target.data = _full(_tensors(self.sharded)[name].detach())

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """The whole module has its weights; all processes enter together, and do as they like inside."""
        self.gather()
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        for parameter in self.whole.parameters():
            parameter.data = parameter.data.new_empty(0)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take whole weights, of a checkpoint; names that it lacks, of tied weights and tables, stay."""
        for module in self.sharded.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        for name, target in _tensors(self.sharded).items():
            if name in weights:
                with torch.no_grad():
                    target.copy_(_like(weights[name].to(target.device), target))

    def whole_optimizer(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """State of an optimizer as one process has it, on the CPU; all processes together."""
        return tree_map(lambda item: _full(item).cpu() if isinstance(item, Tensor) else item, optimizer.state_dict())

    def load_optimizer(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Take the state of an optimizer of one process, or of this number of processes."""
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        dealt = {
            number: {
                name: _like(item.to(parameters[number].device), parameters[number])
                if isinstance(item, Tensor) and item.shape == parameters[number].shape and item.dim()
                else item
                for name, item in entry.items()
            }
            for number, entry in state["state"].items()
        }
        optimizer.load_state_dict(state | {"state": dealt})


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _full(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor.clone()


def _like(whole: Tensor, sharded: Tensor) -> Tensor:
    if not isinstance(sharded, DTensor):
        return whole
    return distribute_tensor(whole, sharded.device_mesh, sharded.placements, src_data_rank=None)


def _shard(module: nn.Module) -> None:
    """A group of weights for each layer, as the model names them, and one for all the rest, tied weights included."""
    device = next(module.parameters()).device
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    layers = set(getattr(module, "_no_split_modules", None) or ())
    reshard = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false"
    for child in [child for child in module.modules() if type(child).__name__ in layers]:
        fully_shard(child, mesh=mesh, reshard_after_forward=reshard)
    # Not resharded between encoding and scoring, which are two passes through the module.
    fully_shard(module, mesh=mesh, reshard_after_forward=False)
