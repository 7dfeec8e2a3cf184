"""Vision networks of transformers, and the vision towers of CLIP and SigLIP."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, CLIPVisionModel, PreTrainedConfig, PreTrainedModel, SiglipVisionModel
from transformers.models.auto import modeling_auto
from transformers.utils import logging as library_logging

from models.bounds import find_foreign_faults
from models.vision.network import VisionNetwork
from utils.hub import refuse_adapters
from utils.io import encode_json
from utils.small_json import read_small_json

TOWERS: dict[str, type[PreTrainedModel]] = {
    "clip_vision_model": CLIPVisionModel,
    "siglip_vision_model": SiglipVisionModel,
}
"""By ``model_type`` the class of a tower; its positions are stretched over other sizes than its own."""
_NO_SHAPE = {"_name_or_path", "transformers_version", "architectures", "dtype", "id2label", "label2id"}
"""Entries of a configuration that change no features."""
_NOT_OURS = {"auto_map", "attn_implementation", "_attn_implementation", "experts_implementation"}
_WHOLE_MODELS = {"clip": "vision_config", "siglip": "vision_config"}
_NETWORKS = {
    *modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES,
    *modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    *TOWERS,
}


class TransformersNetwork(VisionNetwork):
    """A network of transformers as it is, in float32; features are its ``last_hidden_state``.

    Args:
        config: Of the network.
        out_channels: F.
        stride: Pixels per position.
        model: The library's; None makes one with random weights.
    """

    def __init__(
        self, config: PreTrainedConfig, out_channels: int, stride: int, model: PreTrainedModel | None = None
    ) -> None:
        super().__init__()
        self.out_channels, self.stride, self.multiple = out_channels, stride, patch_side(config)
        self.described = describe(config)
        self.model = _new_model(config) if model is None else model
        # Learned positions are for one size; networks without them have no such option.
        stretches = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self.native_sides = sides_of(getattr(config, "image_size", None)) if stretches else None

    def stages(self) -> Sequence[nn.Module]:
        """The layers or stages of its encoder."""
        lists = [list(module) for module in self.model.modules() if isinstance(module, nn.ModuleList)]
        # The list that holds most of the network; the outermost comes first among those that hold as much.
        return max((found for found in lists if len(found) > 1), key=_count_parameters, default=[self.model])

    def forward(self, patch_images: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, F, h, w)."""
        stretched = self.native_sides not in (None, tuple(patch_images.shape[-2:]))
        options = {"interpolate_pos_encoding": True} if stretched else {}
        hidden: Tensor = self.model(patch_images, **options).last_hidden_state
        if hidden.ndim == 4:
            return hidden
        height, width = (-(-side // self.stride) for side in patch_images.shape[-2:])
        patches = hidden[:, hidden.shape[1] - height * width :]  # class and register tokens come first
        return patches.transpose(1, 2).unflatten(2, (height, width))


def describe(config: PreTrainedConfig) -> bytes:
    """What features depend on of a configuration, beside weights."""
    return encode_json({key: value for key, value in config.to_dict().items() if key not in _NO_SHAPE})


def _new_model(config: PreTrainedConfig) -> PreTrainedModel:
    tower = TOWERS.get(config.model_type)
    made = AutoModel.from_config(config, dtype=torch.float32) if tower is None else tower(config)
    return cast(PreTrainedModel, made)


def _count_parameters(modules: Sequence[nn.Module]) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def sides_of(size: Any) -> tuple[int, int] | None:
    """Height and width of a configuration's size: a number or two; None if it has none."""
    if isinstance(size, list | tuple) and len(size) == 2:
        return int(size[0]), int(size[1])
    return (size, size) if isinstance(size, int) else None


def patch_side(config: PreTrainedConfig) -> int:
    """Pixels that a picture's sides are multiples of.

    Raises:
        ValueError: If patches are no squares.
    """
    height, width = sides_of(getattr(config, "patch_size", None)) or (1, 1)
    if height != width:
        raise ValueError(f"patches of {height} x {width} pixels; only squares are supported")
    return height


def read_config(folder: Path) -> PreTrainedConfig:
    """The configuration of the vision network in a folder, also if it is a part of CLIP or SigLIP.

    Raises:
        ValueError: If the folder holds another kind of model, or numbers out of bounds.
    """
    if faults := find_foreign_faults(read_small_json(folder / "config.json"), "config"):
        raise ValueError(f"config.json: {'; '.join(faults[:5])}")
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if config.model_type in _WHOLE_MODELS:
        config = getattr(config, _WHOLE_MODELS[config.model_type])
    if config.model_type not in _NETWORKS:
        known = "a network for pictures (ResNet, ConvNeXt, DINOv2, Swin, ...) or the vision tower of CLIP or SigLIP"
        raise ValueError(f"config.json is of a {config.model_type!r} model; needed is {known}")
    return config


def config_from(fields: dict[str, Any]) -> PreTrainedConfig:
    """A configuration from its JSON form, without what could name code or another number format."""
    return AutoConfig.for_model(**{key: value for key, value in fields.items() if key not in _NOT_OURS})


def load(folder: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """The library's model with the weights of a folder, in evaluation mode.

    Raises:
        ValueError: If parameters are missing there, or adapters lie beside them.
    """
    refuse_adapters(folder)
    with _quietly():
        model, info = TOWERS.get(config.model_type, AutoModel).from_pretrained(
            folder,
            config=config,
            output_loading_info=True,
            local_files_only=True,
            dtype=torch.float32,
            trust_remote_code=False,
        )
    if missing := sorted(name for name in info["missing_keys"] if "pooler" not in name):
        raise ValueError(f"{folder}: the weights lack {missing[0]} ({len(missing)} in all)")
    return cast(PreTrainedModel, model.eval())


@torch.no_grad()
def network_of(model: PreTrainedModel, config: PreTrainedConfig, size: int) -> TransformersNetwork:
    """The network around a model, in evaluation mode; a picture of zeros tells what its features look like.

    Args:
        model: In evaluation mode.
        config: Of the model.
        size: Height and width of a picture, pixels.
    """
    hidden = model(torch.zeros(1, 3, size, size)).last_hidden_state
    if hidden.ndim == 4:
        channels, stride = hidden.shape[1], round(size / hidden.shape[-1])
    else:  # fewer extra tokens than another row and column
        channels, stride = hidden.shape[2], size // int(hidden.shape[1] ** 0.5)
    return TransformersNetwork(config, channels, stride, model).eval()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the library's table of parameters that belong to classifiers and text towers."""
    before = library_logging.get_verbosity()
    library_logging.set_verbosity_error()
    try:
        yield
    finally:
        library_logging.set_verbosity(before)
