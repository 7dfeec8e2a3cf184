"""The adapters of a run, from its configuration."""

from __future__ import annotations

import logging

import torch

from captioning.styled import StyledCaptioner
from configuration.groups import RunConfig
from models.adapters import Adapters, AdapterShape
from pipeline.objective import frozen_parts
from trainers.freezing import freeze_parts

logger = logging.getLogger(__name__)

FOLDER = "adapter"
"""Of a run's ``output/``, where the adapters lie beside the model that they are merged into."""


def attach_adapters(config: RunConfig, styled: StyledCaptioner) -> Adapters | None:
    """Give the captioner of a run its adapters, in place; None if the run trains all weights.

    Raises:
        ValueError: If layers cannot be adapted, or nothing would be trained.
    """
    lora = config.lora
    if lora.rank is None:
        return None
    captioner, registry = styled.captioner, styled.registry
    shape = AdapterShape(lora.rank, lora.rank if lora.alpha is None else lora.alpha, lora.dropout, lora.targets)
    tokens = [] if registry.inject == "words" else [registry.token_of(name) for name in registry.names]
    if lora.quantize is not None and not torch.cuda.is_available():
        raise ValueError(f"lora.quantize={lora.quantize}: is done on CUDA GPUs, and there is none; remove it")
    base, seed = config.model.name or "", config.train.seed
    adapters = Adapters(captioner, shape, tokens, base=base, seed=seed, quantize=lora.quantize)
    freeze_parts(captioner, frozen_parts(config, captioner))  # as for training, to see what is left
    if not any(parameter.requires_grad for parameter in captioner.module.parameters()):
        raise ValueError("train.freeze: freezes all that has adapters, so that nothing is trained; leave a part out")
    return adapters


def tell_adapters(adapters: Adapters) -> None:
    """Say what is trained, by name."""
    sizes = {name: p.numel() for name, p in adapters.module.named_parameters() if p.requires_grad}
    whole = sum(parameter.numel() for parameter in adapters.module.parameters())
    logger.info(
        "lora: adapters in %d layers; %s of %s parameters (%.2f%%) are trained, which are %s",
        len(adapters.layers),
        f"{sum(sizes.values()):,}",
        f"{whole:,}",
        100 * sum(sizes.values()) / whole,
        ", ".join(sizes),
    )
