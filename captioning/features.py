"""What a captioner's vision network makes of pictures, without prompts and captions."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from models.captioner import Captioner
from preprocessors.pictures.feature_cache import in_evaluation
from preprocessors.pictures.images import ImageTransform
from utils.memory import Halving

FeatureSource = Callable[[Sequence[Path]], Iterator[Tensor]]
"""Pictures to their features (B, F, h, w), some at a time, in the order given; raises as ``load_image`` does."""

BATCH = 32


@torch.no_grad()
def look_at(captioner: Captioner, transform: ImageTransform, pixels: Sequence[Tensor]) -> list[Tensor]:
    """What the vision network makes of pictures in evaluation, where it is and in its number format.

    Args:
        captioner: Is in the mode that it was in afterwards.
        transform: That made the pixels.
        pixels: uint8 (3, H, W) each, not empty.

    Returns:
        One (F, h, w) each.
    """
    (network,) = captioner.parts()["vision"]
    with in_evaluation(network):
        batch = transform.normalise(torch.stack([*pixels]).to(captioner.device))
        return [*network(batch.to(next(network.parameters()).dtype))]


def vision_features(captioner: Captioner, transform: ImageTransform) -> FeatureSource:
    """Features as the vision network makes them in evaluation, where it is and in its number format.

    Args:
        captioner: Is in the mode that it was in whenever features are handed out.
        transform: Picture to pixels; nothing is cropped.
    """
    memory = Halving("features of pictures", "Lower image.size, or use a GPU with more memory.")

    def features(pictures: Sequence[Path]) -> Iterator[Tensor]:
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for start in range(0, len(pictures), BATCH):
                part = pictures[start : start + BATCH]
                pixels = [*pool.map(transform.read, part)]
                yield torch.stack(memory.in_pieces(pixels, lambda piece: look_at(captioner, transform, piece)))

    return features


def pooled_features(source: FeatureSource, pictures: Sequence[Path]) -> NDArray[np.float32]:
    """The mean of each feature over a picture, with a progress bar on a terminal.

    Args:
        source: Of features.
        pictures: Each is opened once.

    Returns:
        Shape (len(pictures), F).

    Raises:
        FileNotFoundError: If a picture is missing.
        ValueError: If a picture cannot be read, or the network does not give numbers for it.
    """
    rows: list[NDArray[np.float32]] = []
    with tqdm(total=len(pictures), desc="features", unit="img", disable=not sys.stderr.isatty(), leave=False) as bar:
        for features in source(pictures):
            pooled = features.float().reshape(len(features), features.shape[1], -1).mean(-1)
            rows.append(pooled.cpu().numpy())
            bar.update(len(rows[-1]))
    found = np.concatenate(rows)
    faulty = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(faulty):
        raise ValueError(f"{pictures[faulty[0]]}: its features are no finite numbers ({len(faulty)} pictures)")
    return found
