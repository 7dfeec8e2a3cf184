"""Features of pictures that a frozen vision network needs to compute only once, kept for all runs."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import random
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor, nn
from tqdm import tqdm

from preprocessors.pictures.images import ImageTransform, load_image
from utils.io import encode_json, read_json, write_json

logger = logging.getLogger(__name__)

BATCH = 32
FORMAT = 1
"""Of the files; another number makes other folders."""
UNCROPPED_VIEWS = 2
"""The picture and its mirror image; further views are crops."""
BYTES = 2
"""Of a number, float16."""


@dataclass(frozen=True)
class FeatureIdentity:
    """What features depend on beside the picture.

    Attributes:
        weights: SHA-256 of the network's weights.
        height: Of the pixels.
        width: Of the pixels.
        mean: Of the normalisation.
        std: Of the normalisation.
        shape: (F, h, w).
        crop_from: Pixels a side that crops are cut from.
    """

    weights: str
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    shape: tuple[int, int, int]
    crop_from: int | None = None

    @property
    def key(self) -> str:
        """Name of its folder."""
        return hashlib.sha256(encode_json({"format": FORMAT, **asdict(self)})).hexdigest()[:24]

    @property
    def row_bytes(self) -> int:
        """Of the features of one view."""
        return math.prod(self.shape) * BYTES


class View(NamedTuple):
    """One way to look at a picture: 0 whole, 1 its mirror image, from 2 on crops, every other one mirrored."""

    image: Path
    number: int


class FeatureCache:
    """A vision network's features by picture and view, memory-mapped; as many processes as like read them.

    Args:
        folder: Of one identity.
        identity: What they depend on.
        places: Of every view the file and the row in it.
        views: Views of a training picture.
    """

    def __init__(
        self, folder: Path, identity: FeatureIdentity, places: Mapping[View, tuple[str, int]], views: int = 1
    ) -> None:
        self.folder, self.identity, self.views = folder, identity, views
        self._places = dict(places)
        self._arrays: dict[str, NDArray[np.float16]] = {}
        self._in_use: BinaryIO | None = (folder / "in_use").open("wb")
        fcntl.flock(self._in_use, fcntl.LOCK_SH)  # until this object or its process is gone

    def get(self, image: Path, view: int = 0) -> Tensor:
        """Features of a picture, float32 (F, h, w)."""
        file, row = self._places[View(image, view)]
        if file not in self._arrays:
            shape = (-1, *self.identity.shape)
            self._arrays[file] = np.memmap(self.folder / file, np.float16, "r").reshape(shape)
        return torch.from_numpy(self._arrays[file][row].astype(np.float32))

    def __contains__(self, image: Path) -> bool:
        """Whether it has the whole picture."""
        return View(image, 0) in self._places

    def __getstate__(self) -> dict[str, object]:
        # A worker process maps the files itself; pickled, the arrays would be copied.
        return self.__dict__ | {"_arrays": {}, "_in_use": None}


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
    identity = _identify(network, transform, weights)
    folder = root / identity.key
    wanted = [View(image, 0) for image in dict.fromkeys(images)]
    wanted += [View(image, number) for image in dict.fromkeys(training_images) for number in range(views)]
    wanted = list(dict.fromkeys(wanted))
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        _check_identity(folder, identity)
        keys = {view: _key_of(view) for view in wanted}
        known = _read_index(folder, identity)
        missing = [view for view in wanted if keys[view] not in known]
        if missing and not _make_room(root, folder, len(missing) * identity.row_bytes, limit_mb):
            return None
        if missing:
            _write_part(folder, missing, keys, network, transform)
            known = _read_index(folder, identity)
        cache = FeatureCache(folder, identity, {view: known[keys[view]] for view in wanted}, views)
    os.utime(folder)
    return cache


@torch.no_grad()
def _identify(network: nn.Module, transform: ImageTransform, weights: str) -> FeatureIdentity:
    device = next(network.parameters()).device
    found = network(torch.zeros(1, 3, transform.height, transform.width, device=device))
    mean, std = transform.mean_std
    return FeatureIdentity(
        weights, transform.height, transform.width, mean, std, tuple(found.shape[1:]), transform.random_crop_from
    )


def _check_identity(folder: Path, identity: FeatureIdentity) -> None:
    about, content = folder / "about.json", {"format": FORMAT, **asdict(identity)}
    if not about.is_file():
        write_json(about, content)
    elif encode_json(read_json(about)) != encode_json(content):
        raise ValueError(f"{folder}: holds features of another vision network or picture size; delete the folder")


def _key_of(view: View) -> str:
    """A picture by its place, size and time of change: reading 100,000 files to hash them would take minutes."""
    status = view.image.stat()
    return f"{view.image.resolve()}\t{status.st_size}\t{status.st_mtime_ns}\t{view.number}"


def _read_index(folder: Path, identity: FeatureIdentity) -> dict[str, tuple[str, int]]:
    """File and row by key; a file that is not as long as its index says is damaged and goes."""
    known: dict[str, tuple[str, int]] = {}
    for index in sorted(folder.glob("part-*.json")):
        keys, data = read_json(index), index.with_suffix(".bin")
        if not data.is_file() or data.stat().st_size != len(keys) * identity.row_bytes:
            logger.warning("%s: damaged; its features are computed again", data)
            index.unlink()
            data.unlink(missing_ok=True)
            continue
        known |= {key: (data.name, row) for row, key in enumerate(keys)}
    return known


def _make_room(root: Path, own: Path, needed: int, limit_mb: int) -> bool:
    """Whether so many bytes more fit; deletes what other networks left, if that is enough."""
    limit = limit_mb * 2**20
    used = {folder: _size_of(folder) for folder in root.iterdir() if folder.is_dir()}
    if used[own] + needed > limit:
        message = "features need %d MiB and image.feature_cache_mb is %d: computing them every epoch"
        logger.warning(message, -(-(used[own] + needed) // 2**20), limit_mb)
        return False
    for folder in sorted(used, key=lambda folder: folder.stat().st_mtime):
        if sum(used.values()) + needed <= limit:
            break
        if folder != own and not _is_read(folder):
            logger.info("%s: deleted, to make room for other features", folder)
            shutil.rmtree(folder)
            del used[folder]
    if sum(used.values()) + needed > limit:
        logger.warning("%s: full of features that other runs read; computing them every epoch", root)
        return False
    return True


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("part-*.bin"))


def _is_read(folder: Path) -> bool:
    try:
        with (folder / "in_use").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


@torch.no_grad()
def _write_part(
    folder: Path, views: Sequence[View], keys: Mapping[View, str], network: nn.Module, transform: ImageTransform
) -> None:
    """Compute and write features aside, then put file and index in place; untouched if a picture cannot be read."""
    device, name = next(network.parameters()).device, f"part-{uuid.uuid4().hex}"
    data, aside = folder / f"{name}.bin", folder / f".{name}.new"
    was_training = network.training
    network.eval()
    bar = tqdm(total=len(views), desc="features", unit="img", disable=not sys.stderr.isatty(), leave=False)
    logger.info("computing features of %d views of pictures", len(views))
    try:
        # A plain file, because a full disk under a memory map ends the process without a word.
        with aside.open("wb") as stream, bar:
            for start in range(0, len(views), BATCH):
                part = views[start : start + BATCH]
                pixels = torch.stack([*_pixels_of(part, transform)]).to(device)
                stream.write(network(pixels).to(torch.float16).cpu().numpy().tobytes())
                bar.update(len(part))
        aside.replace(data)
        write_json(folder / f"{name}.json", [keys[view] for view in views], indent=False)
    finally:
        aside.unlink(missing_ok=True)
        network.train(was_training)


def _pixels_of(views: Sequence[View], transform: ImageTransform) -> Iterator[Tensor]:
    opened: tuple[Path, Any] | None = None
    for view in views:
        if opened is None or opened[0] != view.image:
            opened = (view.image, load_image(view.image))
        yield transform_view(opened[1], view, transform)


def transform_view(image: Image.Image, view: View, transform: ImageTransform) -> Tensor:
    """Pixels (3, H, W) of a view of a picture; a crop is drawn from the picture's name and the view's number."""
    if view.number % 2:
        image = ImageOps.mirror(image)
    crop = random.Random(f"{view.image.name}/{view.number}") if view.number >= UNCROPPED_VIEWS else None
    return transform(image, crop)
