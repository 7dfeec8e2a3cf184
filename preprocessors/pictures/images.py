"""Pictures to pixels, as ModelScope's captioning preprocessor makes them but without torchvision."""

from __future__ import annotations

import os
import random
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from tqdm import tqdm

from preprocessors.examples import CaptionExample, DroppedRow, keep_examples, pictures_of
from preprocessors.pictures.files import open_picture
from preprocessors.pictures.modes import as_seen
from preprocessors.pictures.refusals import (
    HEAD_BYTES,
    RUN_BY_OTHERS,
    add_heic_plugin,
    fault_of_content,
)

Channels = tuple[float, float, float]
FaultFinder = Callable[[Sequence[Path], Callable[[Path], str | None]], Mapping[Path, str]]
"""From pictures, and what opens one of them, to what is wrong with those that cannot be read."""
Resizer = Literal["pillow", "torch"]
"""Both resize in integers. Pillow's pixels are those that the published checkpoints were trained on; PyTorch's differ
by one of 255 levels at three values of a thousand, come four times as fast, and from smaller JPEGs: ``REDUCED_TO``."""


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
MAX_PIXELS = 250_000_000
"""Of a picture, unless :func:`limit_pixels` says otherwise; one of Pillow's takes 4 bytes each."""
REDUCED_TO: dict[Resizer, int] = {"pillow": 2, "torch": 1}
"""A JPEG is decoded at reduced size if that leaves so many times the pixels a side that are needed. Measured on 150
sharp photos: at twice the size that moves a value by 0.8 of 255 levels on average, at just the size by 2; on softer
ones by 0.4 and 0.8."""
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
    RuntimeError,  # of AVIF
)


class UnreadablePicture(ValueError):
    """A picture that cannot be read.

    Args:
        message: With file and remedy.
        reason: What is wrong with the file, alone.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or message


class PictureTooLarge(UnreadablePicture):
    """A picture of more pixels than are allowed."""


def limit_pixels(most: int) -> None:
    """Refuse, in this process, pictures of more pixels: width times height as their files say, before decoding."""
    Image.MAX_IMAGE_PIXELS = most  # Pillow's own limit, from which it warns; it refuses from twice as much


limit_pixels(MAX_PIXELS)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # what it warns of is refused below


def load_image(path: Path, at_least: int | None = None) -> Image.Image:
    """Decode a picture as a person sees it: RGB, turned as EXIF says, transparency laid on white, the first frame.

    ModelScope's loader turns pictures as well. Pictures without an orientation and without transparency come as Pillow
    decodes them.

    Args:
        path: Its file.
        at_least: Fewest pixels a side that are needed, see :func:`needed_side`: a JPEG is decoded at a half, a quarter
            or an eighth if that leaves so many; None decodes whole.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadablePicture: If it is no file, or no picture that Pillow knows, or damaged, cut short or too large; says
            which.
    """
    try:
        with open_picture(path) as file:
            return decode_picture(file, at_least)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: picture not found. Check the path and data.images.") from error
    except DECODE_ERRORS as error:
        raise UnreadablePicture(
            f"{path}: the picture cannot be read ({error}). Replace the file, or leave such rows out with "
            f"data.on_bad_image=skip.",
            str(error),
        ) from error


def decode_picture(file: BinaryIO, at_least: int | None = None, max_pixels: int | None = None) -> Image.Image:
    """Decode what stands in a file, or in memory, as :func:`load_image` does.

    Args:
        file: At its beginning; can be sought in.
        at_least: As of :func:`load_image`.
        max_pixels: Most width times height, beside what this process allows (:func:`limit_pixels`).

    Raises:
        PictureTooLarge: If it has more pixels; nothing is decoded then.
        UnreadablePicture: If it is no picture that Pillow knows, or damaged or cut short; says which and names no file.
    """
    try:
        with _open(file) as image:
            check_pixels(image, max_pixels)
            if image.format in RUN_BY_OTHERS:
                raise ValueError(
                    f"it is {image.format}, which another program would have to run; convert it to JPEG or PNG"
                )
            if at_least is not None:
                image.draft(None, (at_least, at_least))
            return as_seen(image)
    except UnreadablePicture:
        raise
    except DECODE_ERRORS as error:
        raise UnreadablePicture(str(error)) from error


def check_pixels(image: Image.Image, max_pixels: int | None = None) -> None:
    """Refuse a picture with more pixels than this process, or ``max_pixels``, allows.

    Raises:
        PictureTooLarge: With both numbers.
    """
    number, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if most is not None and number > most:
        raise PictureTooLarge(f"{image.width} x {image.height} pixels; image.max_pixels is {most}")
    if max_pixels is not None and number > max_pixels:
        raise PictureTooLarge(f"{image.width} x {image.height} pixels, and at most {max_pixels:,} are taken")


def _open(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file)
    except Image.DecompressionBombError as error:
        raise PictureTooLarge(
            f"more than twice the pixels that are allowed; image.max_pixels is {Image.MAX_IMAGE_PIXELS}"
        ) from error
    except UnidentifiedImageError as error:
        file.seek(0)
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if add_heic_plugin(head):
            return Image.open(file)
        raise ValueError(fault_of_content(head) or "it is in no picture format that Pillow knows") from error


class ImageTransform:
    """Resize to a fixed size, scale to [0, 1], subtract the mean and divide by the deviation.

    The aspect ratio is not kept: bicubic with antialiasing to exactly the size asked for, as
    ``torchvision.transforms.Resize((s, s))`` does on Pillow images.

    Args:
        size: Side of the square in pixels, or (height, width).
        mean_std: Mean and deviation of the channels.
        random_crop_from: For training, resize to this many pixels a side and crop ``size`` at random; None is off.
        resizer: What resizes, see :data:`Resizer`.

    Attributes:
        kept: Pictures that are resized already, by height and width; others are opened.

    Raises:
        ValueError: If the crop would be larger than the picture it is cut from.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        mean_std: Normalisation = MEAN_STD["half"],
        random_crop_from: int | None = None,
        resizer: Resizer = "pillow",
    ) -> None:
        self.height, self.width = (size, size) if isinstance(size, int) else size
        if random_crop_from is not None and random_crop_from < max(self.height, self.width):
            raise ValueError(
                f"image.max_size={random_crop_from}: must be at least image.size={max(self.height, self.width)}."
            )
        self.mean_std = mean_std
        self.mean, self.std = torch.tensor(mean_std.mean), torch.tensor(mean_std.std)
        self.random_crop_from = random_crop_from
        self.resizer = resizer
        self.kept: dict[tuple[int, int], ResizedPictures] = {}

    def __call__(self, image: Image.Image, generator: random.Random | None = None) -> Tensor:
        """Turn a picture into what a model takes.

        Args:
            image: An RGB picture of any size.
            generator: Draws the crop; without one, or without ``random_crop_from``, nothing is cropped.

        Returns:
            float32 of shape (3, H, W); with ``half`` in [-1, 1].
        """
        return self.normalise(self.pixels(image, generator))

    def read(self, path: Path, generator: random.Random | None = None) -> Tensor:
        """The pixels of a picture file, uint8 (3, H, W); not opened if it is kept.

        Raises:
            FileNotFoundError: If there is no such file.
            UnreadablePicture: As :func:`load_image`.
        """
        size = self.size_before_crop(generator)
        kept = self.kept.get(size)
        if kept is not None and path in kept:
            return self._crop(kept.get(path), generator)
        return self.pixels(load_image(path, needed_side(size, self.resizer)), generator)

    def pixels(self, image: Image.Image, generator: random.Random | None = None) -> Tensor:
        """An RGB picture resized, and cropped if there is a generator: uint8 (3, H, W)."""
        return self._crop(resize(image, self.size_before_crop(generator), self.resizer), generator)

    def size_before_crop(self, generator: random.Random | None) -> tuple[int, int]:
        """Height and width that pictures are resized to."""
        side = None if generator is None else self.random_crop_from
        return (self.height, self.width) if side is None else (side, side)

    def _crop(self, whole: Tensor, generator: random.Random | None) -> Tensor:
        if generator is None or self.random_crop_from is None:
            return whole
        side = self.random_crop_from
        top, left = generator.randint(0, side - self.height), generator.randint(0, side - self.width)
        return whole[:, top : top + self.height, left : left + self.width]

    def normalise(self, pixels: Tensor) -> Tensor:
        """What a model takes of pixels, where they are: uint8 (..., 3, H, W) to float32, channels last in memory."""
        # In rows of W x 3 numbers: channel by channel, three at a time, it would take three times as long.
        width = pixels.shape[-1]
        mean, std = (numbers.to(pixels.device).repeat(width) for numbers in (self.mean, self.std))
        rows = pixels.movedim(-3, -1).contiguous().flatten(-2).float()
        return rows.div_(255).sub_(mean).div_(std).view(*rows.shape[:-1], width, 3).movedim(-1, -3)


class ResizedPictures(Protocol):
    """Pictures that are resized already."""

    def __contains__(self, image: Path) -> bool:
        """Whether a picture is among them."""

    def get(self, image: Path) -> Tensor:
        """Its pixels, uint8 (3, H, W)."""


def needed_side(size: tuple[int, int], resizer: Resizer) -> int:
    """Pixels a side of a picture that is going to be resized; JPEGs of many more may be decoded at reduced size."""
    return REDUCED_TO[resizer] * max(size)


def resize(image: Image.Image, size: tuple[int, int], resizer: Resizer) -> Tensor:
    """Bicubic with antialiasing.

    Args:
        image: RGB.
        size: Height and width.
        resizer: What resizes.

    Returns:
        uint8 (3, H, W).
    """
    height, width = size
    if resizer == "pillow":
        return _to_tensor(image.resize((width, height), Image.Resampling.BICUBIC))
    return F.interpolate(_to_tensor(image)[None], size=size, mode="bicubic", antialias=True)[0]


def _to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


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
    """What is wrong with a picture, as :func:`load_image` says it."""
    try:
        load_image(path, at_least=1)
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return None
