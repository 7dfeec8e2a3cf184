"""Features of pictures that a frozen vision network needs to compute only once."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from preprocessors.pictures.images import ImageTransform, load_image

logger = logging.getLogger(__name__)

BATCH = 32


class FeatureCache(Mapping[Path, Tensor]):
    """A vision network's features by picture, in one memory-mapped file that all processes of a run read.

    Args:
        file: Of float32 (len(images), F, h, w).
        images: The pictures, in the order of the file.
        shape: (F, h, w).
    """

    def __init__(self, file: Path, images: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self.file, self.shape = file, shape
        self._places = {image: place for place, image in enumerate(images)}
        self._array: NDArray[np.float32] | None = None

    def __getitem__(self, image: Path) -> Tensor:
        """Features (F, h, w) of a picture."""
        place = self._places[image]
        if self._array is None:
            self._array = np.memmap(self.file, np.float32, "r", shape=(len(self), *self.shape))
        return torch.from_numpy(self._array[place].copy())

    def __iter__(self) -> Iterator[Path]:
        """Pictures."""
        return iter(self._places)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._places)

    def __getstate__(self) -> dict[str, object]:
        # A worker process maps the file itself; pickled, the array would be copied.
        return self.__dict__ | {"_array": None}


def features_fit(shape: tuple[int, int, int], num_images: int, limit_mb: int) -> bool:
    """Whether features (F, h, w) of so many pictures stay within a limit of MiB; the log says so if they do not."""
    needed = -(-num_images * math.prod(shape) * 4 // 2**20)  # rounded up
    if limit_mb and needed > limit_mb:
        message = "features of %d pictures need %d MiB and image.feature_cache_mb is %d: computing them every epoch"
        logger.warning(message, num_images, needed, limit_mb)
    return needed <= limit_mb


@torch.no_grad()
def feature_shape(network: nn.Module, transform: ImageTransform) -> tuple[int, int, int]:
    """(F, h, w) of one picture."""
    device = next(network.parameters()).device
    found = network(torch.zeros(1, 3, transform.height, transform.width, device=device))
    return tuple(found.shape[1:])


@torch.no_grad()
def write_features(
    file: Path,
    images: Sequence[Path],
    network: nn.Module,
    transform: ImageTransform,
    *,
    autocast: torch.dtype | None = None,
) -> None:
    """Compute the features of pictures, with a progress bar on a terminal.

    Args:
        file: Written aside first, then put in place; untouched if a picture cannot be read.
        images: Each is opened once.
        network: Where it is; its batch statistics must be frozen.
        transform: Picture to pixels, nothing cropped.
        autocast: Number format of the training step; None is float32, which is what is stored always.
    """
    device, aside = next(network.parameters()).device, file.with_name(f".{file.name}.new")
    was_training = network.training
    network.eval()
    bar = tqdm(total=len(images), desc="features", unit="img", disable=not sys.stderr.isatty(), leave=False)
    try:
        # A plain file, because a full disk under a memory map ends the process without a word.
        with aside.open("wb") as stream, bar:
            for start in range(0, len(images), BATCH):
                part = images[start : start + BATCH]
                pixels = torch.stack([transform(load_image(image)) for image in part]).to(device)
                with torch.autocast(device.type, autocast, enabled=autocast is not None):
                    features = network(pixels)
                stream.write(features.float().cpu().numpy().tobytes())
                bar.update(len(part))
        aside.replace(file)
    finally:
        aside.unlink(missing_ok=True)
        network.train(was_training)
