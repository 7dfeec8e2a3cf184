"""Features of pictures that a frozen vision network needs to compute only once, kept for all runs."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import ImageOps
from torch import Tensor, nn

from preprocessors.pictures.images import ImageTransform, load_image, needed_side
from preprocessors.pictures.row_cache import RowCache, RowIdentity, View, open_rows

FeatureCache = RowCache
"""Of features: ``get`` gives float32 (F, h, w)."""
UNCROPPED_VIEWS = 2
"""The picture and its mirror image; further views are crops."""


@dataclass(frozen=True)
class FeatureIdentity(RowIdentity):
    """What features depend on beside the picture.

    Attributes:
        weights: SHA-256 of the network's weights.
        height: Of the pixels.
        width: Of the pixels.
        mean: Of the normalisation.
        std: Of the normalisation.
        shape: (F, h, w).
        crop_from: Pixels a side that crops are cut from.
        resizer: What resizes pictures.
    """

    what = "features"
    setting = "image.feature_cache_mb"
    others = "another vision network or picture size"
    otherwise = "computing them every epoch"
    stored, given = np.float16, np.float32

    weights: str
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, int, int]
    crop_from: int | None = None
    resizer: str = "pillow"

    @property
    def row_shape(self) -> tuple[int, ...]:
        """``shape``."""
        return self.shape


def open_features(
    root: Path,
    network: nn.Module,
    transform: ImageTransform,
    images: Sequence[Path],
    *,
    weights: str,
    training_images: Sequence[Path] = (),
    views: int = 1,
    limit_mb: int,
) -> FeatureCache | None:
    """Features of pictures; those that nobody has computed yet are computed, by one process at a time.

    Args:
        root: Folder of all identities.
        network: Where it is; frozen.
        transform: Picture to pixels; what it crops from is where the crops come from.
        images: Each with its whole view.
        weights: What :func:`models.vision.network.hash_weights` says of the network.
        training_images: Each with all its views.
        views: Of a training picture.
        limit_mb: Most MiB in ``root``. Features of other networks that nobody reads make room, the longest unused
            first.

    Returns:
        None if they do not fit; the log says so.

    Raises:
        ValueError: If a picture cannot be read, or the folder holds features of another network.
    """
    device = next(network.parameters()).device

    @torch.no_grad()
    def compute(part: Sequence[View]) -> NDArray[Any]:
        pixels = torch.stack([*_pixels_of(part, transform)]).to(device)
        with in_evaluation(network):
            features = network(transform.normalise(pixels)).to(torch.float16).cpu()
        _check_finite(features, part)
        found: NDArray[Any] = features.numpy()
        return found

    identity = _identify(network, transform, weights)
    return open_rows(root, identity, images, compute, training_images=training_images, views=views, limit_mb=limit_mb)


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """With a module in evaluation mode, and in its own again afterwards."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


@torch.no_grad()
def _identify(network: nn.Module, transform: ImageTransform, weights: str) -> FeatureIdentity:
    device = next(network.parameters()).device
    found = network(torch.zeros(1, 3, transform.height, transform.width, device=device))
    mean, std = transform.mean_std
    return FeatureIdentity(
        weights,
        transform.height,
        transform.width,
        mean,
        std,
        tuple(found.shape[1:]),
        transform.random_crop_from,
        transform.resizer,
    )


def _check_finite(features: Tensor, views: Sequence[View]) -> None:
    for row, view in zip(features, views, strict=True):
        if not row.isfinite().all():
            raise ValueError(
                f"{view.image}: its features are no numbers that float16 holds; set image.feature_cache_mb=0"
            )


def _pixels_of(views: Sequence[View], transform: ImageTransform) -> Iterator[Tensor]:
    opened: tuple[Path, int] | None = None
    for view in views:
        crop = _crop_of(view)
        wanted = (view.image, needed_side(transform.size_before_crop(crop), transform.resizer))
        if opened != wanted:
            image, opened = load_image(*wanted), wanted
        yield transform.pixels(ImageOps.mirror(image) if view.number % 2 else image, crop)


def _crop_of(view: View) -> random.Random | None:
    """Draws the crop, from the picture's name and the view's number; None for a view of the whole picture."""
    return random.Random(f"{view.image.resolve().name}/{view.number}") if view.number >= UNCROPPED_VIEWS else None
