"""Features of pictures that a frozen vision network needs to compute only once, kept for all runs."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import math
import os
import random
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from PIL import ImageOps
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
MIB = 2**20
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
        held: What keeps others from deleting the folder, until this object or its process is gone.
    """

    def __init__(
        self,
        folder: Path,
        identity: FeatureIdentity,
        places: Mapping[View, tuple[str, int]],
        views: int,
        held: BinaryIO,
    ) -> None:
        self.folder, self.identity, self.views = folder, identity, views
        self._places = dict(places)
        self._arrays: dict[str, NDArray[np.float16]] = {}
        self._held: BinaryIO | None = held

    def get(self, image: Path, view: int = 0) -> Tensor:
        """Features of a picture, float32 (F, h, w)."""
        file, row = self._places[View(image, view)]
        if file not in self._arrays:
            shape = (-1, *self.identity.shape)
            self._arrays[file] = np.memmap(self.folder / file, np.float16, "r").reshape(shape)
        return torch.from_numpy(self._arrays[file][row].astype(np.float32))

    def shared(self, views: Sequence[View]) -> list[Tensor]:
        """Features of views, in order; a view that comes again is the same tensor, and is read once."""
        known = {view: self.get(*view) for view in dict.fromkeys(views)}
        return [known[view] for view in views]

    def __contains__(self, image: Path) -> bool:
        """Whether it has the whole picture."""
        return View(image, 0) in self._places

    def __getstate__(self) -> dict[str, object]:
        # A worker process maps the files itself; pickled, the arrays would be copied.
        return self.__dict__ | {"_arrays": {}, "_held": None}


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
    keys = {view: _key_of(view) for view in dict.fromkeys(wanted)}
    root.mkdir(parents=True, exist_ok=True)
    with _room_lock(root):
        folder.mkdir(exist_ok=True)
        held = _hold(folder)
    with FileLock(folder / "lock"):
        _check_identity(folder, identity)
        _remove_leftovers(folder)
        known = _read_index(folder, identity)
        missing = [view for view in keys if keys[view] not in known]
        if missing:
            part = _reserve(root, folder, held, {*keys.values()}, len(missing) * identity.row_bytes, limit_mb)
            if part is None:
                return None
            _write_part(part, missing, keys, network, transform)
            known = _read_index(folder, identity)
    os.utime(folder)
    return FeatureCache(folder, identity, {view: known[keys[view]] for view in keys}, views, held)


def _room_lock(root: Path) -> FileLock:
    """Held while folders appear, room is reserved and folders go."""
    return FileLock(root / "lock")


def _hold(folder: Path) -> BinaryIO:
    """A handle that keeps others from deleting a folder as long as it is open."""
    handle = (folder / "in_use").open("wb")
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


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
    try:
        status = view.image.stat()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{view.image}: picture not found. Check the path and data.images.") from error
    return f"{view.image.resolve()}\t{status.st_size}\t{status.st_mtime_ns}\t{view.number}"


def _remove_leftovers(folder: Path) -> None:
    """What killed processes left behind; only with the folder's lock."""
    for file in [*folder.glob(".part-*.new"), *folder.glob("part-*.bin")]:
        if file.suffix == ".new" or not file.with_suffix(".json").is_file():
            file.unlink()


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


def _reserve(root: Path, own: Path, held: BinaryIO, wanted: Set[str], needed: int, limit_mb: int) -> Path | None:
    """A file of so many bytes, for features to come; None, and a word in the log, if they do not fit."""
    limit = limit_mb * MIB
    with _room_lock(root):
        if _size_of(own) + needed > limit:
            _drop_unwanted(own, held, wanted)
        used = {folder: _size_of(folder) for folder in root.iterdir() if _is_ours(folder)}
        if used[own] + needed > limit:
            message = "features need %d MiB and image.feature_cache_mb is %d: computing them every epoch"
            logger.warning(message, -(-(used[own] + needed) // MIB), limit_mb)
            return None
        excess = sum(used.values()) + needed - limit
        if not _make_room({folder: size for folder, size in used.items() if folder != own and size}, excess):
            logger.warning("%s: full of features that other runs read; computing them every epoch", root)
            return None
        part = own / f".part-{uuid.uuid4().hex}.new"
        with part.open("wb") as stream:
            stream.truncate(needed)
        return part


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds features; whatever else lies there is nobody's to delete."""
    return re.fullmatch("[0-9a-f]{24}", folder.name) is not None and (folder / "about.json").is_file()


def _drop_unwanted(own: Path, held: BinaryIO, wanted: Set[str]) -> None:
    """Delete files that hold no wanted view, such as those of pictures that changed, unless somebody reads them."""
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for index in own.glob("part-*.json"):
            if not wanted & {*read_json(index)}:
                index.unlink()
                index.with_suffix(".bin").unlink(missing_ok=True)
    except BlockingIOError:
        logger.info("%s: others read it, so that nothing there can go", own)
    finally:
        fcntl.flock(held, fcntl.LOCK_SH)  # a conversion that fails loses the lock that was there


def _make_room(others: Mapping[Path, int], excess: int) -> bool:
    """Delete folders that nobody reads, the longest unused first, if that frees so many bytes; whether it did."""
    if excess <= 0:
        return True
    unread = sorted((folder for folder in others if not _is_read(folder)), key=lambda folder: folder.stat().st_mtime)
    if sum(others[folder] for folder in unread) < excess:
        return False
    for folder in unread:
        if excess <= 0:
            break
        logger.info("%s: deleted, to make room for other features", folder)
        shutil.rmtree(folder)
        excess -= others[folder]
    return True


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for pattern in ("part-*.bin", ".part-*.new") for file in folder.glob(pattern))


def _is_read(folder: Path) -> bool:
    try:
        with (folder / "in_use").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    return False


@torch.no_grad()
def _write_part(
    aside: Path, views: Sequence[View], keys: Mapping[View, str], network: nn.Module, transform: ImageTransform
) -> None:
    """Compute and write features aside, then put file and index in place; nothing is left if a picture is at fault."""
    device = next(network.parameters()).device
    bar = tqdm(total=len(views), desc="features", unit="img", disable=not sys.stderr.isatty(), leave=False)
    logger.info("computing features of %d views of pictures", len(views))
    try:
        # A plain file, because a full disk under a memory map ends the process without a word.
        with in_evaluation(network), aside.open("r+b") as stream, bar:
            for start in range(0, len(views), BATCH):
                part = views[start : start + BATCH]
                pixels = torch.stack([*_pixels_of(part, transform)]).to(device)
                features = network(transform.normalise(pixels)).to(torch.float16).cpu()
                _check_finite(features, part)
                stream.write(features.numpy().tobytes())
                bar.update(len(part))
        data = aside.with_name(aside.name[1:]).with_suffix(".bin")
        aside.replace(data)
        write_json(data.with_suffix(".json"), [keys[view] for view in views], indent=False)
    finally:
        aside.unlink(missing_ok=True)


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
        wanted = (view.image, max(transform.size_before_crop(crop)))
        if opened != wanted:
            image, opened = load_image(*wanted), wanted
        yield transform.pixels(ImageOps.mirror(image) if view.number % 2 else image, crop)


def _crop_of(view: View) -> random.Random | None:
    """Draws the crop, from the picture's name and the view's number; None for a view of the whole picture."""
    return random.Random(f"{view.image.resolve().name}/{view.number}") if view.number >= UNCROPPED_VIEWS else None
