"""Pictures to pixels, as ModelScope's captioning preprocessor makes them but without torchvision."""

from __future__ import annotations

import os
import random
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from preprocessors.examples import CaptionExample, DroppedRow, keep_examples, pictures_of
from preprocessors.pictures.files import open_picture

Channels = tuple[float, float, float]
FaultFinder = Callable[[Sequence[Path], Callable[[Path], str | None]], Mapping[Path, str]]
"""From pictures, and what opens one of them, to what is wrong with those that cannot be read."""


class Normalisation(NamedTuple):
    """What is subtracted from the channels of a picture in [0, 1], and what they are divided by then."""

    mean: Channels
    std: Channels


MEAN_STD = {
    "half": Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "imagenet": Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""By the name in ``image.mean_std``: ``half`` is what the published captioning checkpoints were trained with."""
BAD_PICTURE = "unreadable picture"
# What Pillow's decoders raise on files that are damaged, cut short, no pictures at all, or absurdly large.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def load_image(path: Path) -> Image.Image:
    """Decode a picture as RGB.

    The orientation tag of EXIF is not applied and transparency is dropped, as in the reference preprocessor.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no picture, or is damaged or cut short.
    """
    try:
        with open_picture(path) as file, Image.open(file) as image:
            return image.convert("RGB")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: picture not found. Check the path and data.images.") from error
    except DECODE_ERRORS as error:
        raise ValueError(
            f"{path}: the picture cannot be read ({error}). Replace the file, or leave such rows out with "
            f"data.on_bad_image=skip."
        ) from error


class ImageTransform:
    """Resize to a fixed size, scale to [0, 1], subtract the mean and divide by the deviation.

    The aspect ratio is not kept: bicubic with antialiasing to exactly the size asked for, as
    ``torchvision.transforms.Resize((s, s))`` does on Pillow images.

    Args:
        size: Side of the square in pixels, or (height, width).
        mean_std: Mean and deviation of the channels.
        random_crop_from: For training, resize to this many pixels a side and crop ``size`` at random; None is off.

    Raises:
        ValueError: If the crop would be larger than the picture it is cut from.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        mean_std: Normalisation = MEAN_STD["half"],
        random_crop_from: int | None = None,
    ) -> None:
        self.height, self.width = (size, size) if isinstance(size, int) else size
        if random_crop_from is not None and random_crop_from < max(self.height, self.width):
            raise ValueError(
                f"image.max_size={random_crop_from}: must be at least image.size={max(self.height, self.width)}."
            )
        self.mean_std = mean_std
        self.mean, self.std = torch.tensor(mean_std.mean), torch.tensor(mean_std.std)
        self.random_crop_from = random_crop_from

    def __call__(self, image: Image.Image, generator: random.Random | None = None) -> Tensor:
        """Turn a picture into pixels.

        Args:
            image: An RGB picture of any size.
            generator: Draws the crop; without one, or without ``random_crop_from``, nothing is cropped.

        Returns:
            float32 of shape (3, H, W); with ``half`` in [-1, 1].
        """
        if generator is None or self.random_crop_from is None:
            resized = image.resize((self.width, self.height), Image.Resampling.BICUBIC)
        else:
            side = self.random_crop_from
            top, left = generator.randint(0, side - self.height), generator.randint(0, side - self.width)
            whole = image.resize((side, side), Image.Resampling.BICUBIC)
            resized = whole.crop((left, top, left + self.width, top + self.height))
        pixels = torch.from_numpy(np.array(resized)).float().div_(255)  # (H, W, 3)
        return pixels.sub_(self.mean).div_(self.std).permute(2, 0, 1)


def verify_images(
    examples: Sequence[CaptionExample], on_bad_image: Literal["error", "skip"], find_faults: FaultFinder | None = None
) -> tuple[Sequence[CaptionExample], list[DroppedRow]]:
    """Decode every picture once, so that a damaged one is found before training and not hours into it.

    JPEGs are decoded at reduced size, which reads the whole file all the same.

    Args:
        examples: Examples whose pictures exist.
        on_bad_image: ``error`` stops at the first damaged picture; ``skip`` leaves its examples out.
        find_faults: Finds them without opening every picture, see :class:`preprocessors.pictures.record.PictureRecord`;
            None opens them all.

    Returns:
        The examples whose pictures can be read, and one dropped row for each of the others.

    Raises:
        ValueError: With ``error``, naming the annotation row, the picture and the remedy; with ``skip`` if no picture
            can be read.
    """
    paths = [path for _, path in pictures_of(examples)]
    faults = (find_faults or _open_all)(paths, find_fault)
    if not faults:
        return examples, []
    dropped = [example for example in examples if example.image_path in faults]
    if on_bad_image == "error":
        first = dropped[0]
        raise ValueError(f"{first.where}: {faults[first.image_path]} ({len(faults)} of {len(paths)} pictures are bad)")
    if len(faults) == len(paths):
        raise ValueError(f"not one of {len(paths)} pictures can be read; the first: {faults[paths[0]]}")
    rows = [DroppedRow(item.source, item.row, BAD_PICTURE, faults[item.image_path]) for item in dropped]
    return keep_examples(examples, lambda example: example.image_path not in faults), rows


def _open_all(paths: Sequence[Path], judge: Callable[[Path], str | None]) -> dict[Path, str]:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        found = tqdm(pool.map(judge, paths), "checking pictures", len(paths), disable=None, leave=False)
        return {path: fault for path, fault in zip(paths, found, strict=True) if fault}


def find_fault(path: Path) -> str | None:
    """What is wrong with a picture, as :func:`load_image` would say it."""
    try:
        with open_picture(path) as file, Image.open(file) as image:
            image.draft("RGB", (32, 32))
            image.load()
    except DECODE_ERRORS:
        try:
            load_image(path)
        except (FileNotFoundError, ValueError) as error:
            return str(error)
    return None
