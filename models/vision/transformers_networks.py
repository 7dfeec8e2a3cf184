"""Vision networks of transformers: backbones, and the vision towers of CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoBackbone, AutoConfig, CLIPVisionModel, PreTrainedConfig, PreTrainedModel, SiglipVisionModel
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

from models.vision.network import VisionNetwork

TOWERS: dict[str, tuple[type[PreTrainedModel], int]] = {
    "clip_vision_model": (CLIPVisionModel, 1),
    "siglip_vision_model": (SiglipVisionModel, 0),
}
"""By ``model_type`` the class of a tower, and the tokens before those of its patches."""
_WHOLE_MODELS = {"clip": "vision_config", "siglip": "vision_config"}


class TransformersNetwork(VisionNetwork):
    """A network of transformers as it is; features are its last feature map, or a tower's last hidden states.

    Args:
        config: Of the network.
        out_channels: F.
        stride: Pixels per position.
    """

    def __init__(self, config: PreTrainedConfig, out_channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels, self.stride = out_channels, stride
        self.multiple = patch_side(config)
        tower = TOWERS.get(config.model_type)
        self.skipped = None if tower is None else tower[1]
        self.native_size: int | None = getattr(config, "image_size", None) if tower else None
        self.model = AutoBackbone.from_config(config) if tower is None else tower[0](config)

    def stages(self) -> Sequence[nn.Module]:
        """The layers or stages of its encoder."""
        lists = [module for module in self.model.modules() if isinstance(module, nn.ModuleList)]
        # The outermost list with several members; lists within its members come behind it.
        return next((list(found) for found in lists if len(found) > 1), [self.model])

    def forward(self, patch_images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, F, h, w)."""
        if self.skipped is None:
            features: Tensor = self.model(patch_images).feature_maps[-1]
            return features
        other_size = self.native_size != patch_images.shape[-1]
        hidden = self.model(patch_images, interpolate_pos_encoding=other_size).last_hidden_state[:, self.skipped :]
        height, width = (side // self.stride for side in patch_images.shape[-2:])
        return hidden.transpose(1, 2).unflatten(2, (height, width))


def patch_side(config: PreTrainedConfig) -> int:
    """Pixels that a picture's sides are multiples of."""
    side = getattr(config, "patch_size", 1)
    return side if isinstance(side, int) else 1


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of the vision network in a folder, also if it is a part of CLIP or SigLIP.

    Raises:
        ValueError: If the folder holds another kind of model.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type in _WHOLE_MODELS:
        config = getattr(config, _WHOLE_MODELS[config.model_type])
    if config.model_type not in MODEL_FOR_BACKBONE_MAPPING_NAMES and config.model_type not in TOWERS:
        known = "a backbone of transformers (ResNet, ConvNeXt, DINOv2, Swin, ...) or the vision tower of CLIP or SigLIP"
        raise ValueError(f"{folder}: config.json is of a {config.model_type!r} model; a vision network is {known}")
    return config


def config_from(fields: dict[str, Any]) -> PreTrainedConfig:
    """A configuration from its JSON form."""
    return AutoConfig.for_model(**fields)


@torch.no_grad()
def measure(config: PreTrainedConfig, size: int) -> tuple[int, int]:
    """(out_channels, stride) of a network, found on a picture of zeros with random weights.

    Raises:
        ValueError: If the network cannot take that size.
    """
    stride = patch_side(config)
    network = TransformersNetwork(config, 0, stride).eval()
    features = network(torch.zeros(1, 3, size, size))
    return features.shape[1], round(size / features.shape[-1])


def load(folder: Path, config: PreTrainedConfig, out_channels: int, stride: int) -> TransformersNetwork:
    """The network with the weights of a folder, in evaluation mode.

    Raises:
        ValueError: If parameters are missing there.
    """
    network = TransformersNetwork(config, out_channels, stride)
    model, info = type(network.model).from_pretrained(
        folder, config=config, output_loading_info=True, local_files_only=True, dtype=torch.float32
    )
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{folder}: the weights lack {missing[0]} ({len(missing)} in all)")
    network.model = model
    return network.eval()
