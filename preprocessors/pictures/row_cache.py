"""What is made of pictures once and kept for all runs: an array for each view of a picture, in mapped files."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import re
import shutil
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from preprocessors.pictures.files import stat_picture
from utils.io import encode_json, hash_json, read_json, write_json

logger = logging.getLogger(__name__)

BATCH = 32
FORMAT = 1
"""Of the files; another number makes other folders."""
MIB = 2**20


@dataclass(frozen=True)
class RowIdentity:
    """What rows depend on beside the picture: the fields of a subclass, which says what a row is."""

    what: ClassVar[str]
    """A word for the rows, in messages."""
    setting: ClassVar[str]
    """The setting that limits them."""
    others: ClassVar[str]
    """What other rows would be of."""
    otherwise: ClassVar[str]
    """What happens where they find no room."""
    stored: ClassVar[Any]
    """Number format in the file."""
    given: ClassVar[Any]
    """Number format that readers get."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of one view."""
        raise NotImplementedError

    @property
    def key(self) -> str:
        """Name of its folder."""
        return hash_json({"format": FORMAT, **asdict(self)})[:24]

    @property
    def row_bytes(self) -> int:
        """Of one view, in the file."""
        return math.prod(self.row_shape) * int(np.dtype(self.stored).itemsize)


class View(NamedTuple):
    """One way to look at a picture: 0 whole, 1 its mirror image, from 2 on crops, every other one mirrored."""

    image: Path
    number: int


Compute = Callable[[Sequence[View]], NDArray[Any]]
"""Views of pictures to their rows."""


class RowCache:
    """Features, or other rows, by picture and view, memory-mapped; as many processes as like read them.

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
        identity: RowIdentity,
        places: Mapping[View, tuple[str, int]],
        views: int,
        held: BinaryIO,
    ) -> None:
        self.folder, self.identity, self.views = folder, identity, views
        self._places = dict(places)
        self._arrays: dict[str, NDArray[Any]] = {}
        self._held: BinaryIO | None = held

    def get(self, image: Path, view: int = 0) -> Tensor:
        """The row of a picture, for features float32 (F, h, w); a copy."""
        file, row = self._places[View(image, view)]
        if file not in self._arrays:
            shape = (-1, *self.identity.row_shape)
            self._arrays[file] = np.memmap(self.folder / file, self.identity.stored, "r").reshape(shape)
        return torch.from_numpy(self._arrays[file][row].astype(self.identity.given))

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


def open_rows(
    root: Path,
    identity: RowIdentity,
    images: Sequence[Path],
    compute: Compute,
    *,
    training_images: Sequence[Path] = (),
    views: int = 1,
    limit_mb: int,
) -> RowCache | None:
    """Rows of pictures; those that nobody has made yet are made, by one process at a time.

    Args:
        root: Folder of all identities.
        identity: What the rows depend on.
        images: Each with its whole view.
        compute: Makes the rows of at most ``BATCH`` views, in order, in the identity's number format.
        training_images: Each with all its views.
        views: Of a training picture.
        limit_mb: Most MiB in ``root``. Rows of other identities that nobody reads make room, the longest unused first.

    Returns:
        None if they do not fit; the log says so.

    Raises:
        ValueError: If a picture cannot be read, or the folder holds other rows.
    """
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
            part = _reserve(root, identity, held, {*keys.values()}, len(missing), limit_mb)
            if part is None:
                return None
            _write_part(part, missing, keys, compute, identity.what)
            known = _read_index(folder, identity)
    os.utime(folder)
    return RowCache(folder, identity, {view: known[keys[view]] for view in keys}, views, held)


def _room_lock(root: Path) -> FileLock:
    """Held while folders appear, room is reserved and folders go."""
    return FileLock(root / "lock")


def _hold(folder: Path) -> BinaryIO:
    """A handle that keeps others from deleting a folder as long as it is open."""
    handle = (folder / "in_use").open("wb")
    fcntl.flock(handle, fcntl.LOCK_SH)
    return handle


def _check_identity(folder: Path, identity: RowIdentity) -> None:
    about, content = folder / "about.json", {"format": FORMAT, **asdict(identity)}
    if not about.is_file():
        write_json(about, content)
    elif encode_json(read_json(about)) != encode_json(content):
        raise ValueError(f"{folder}: holds {identity.what} of {identity.others}; delete the folder")


def _key_of(view: View) -> str:
    """A picture by its place, size and time of change: reading 100,000 files to hash them would take minutes."""
    try:
        state = stat_picture(view.image)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{view.image}: picture not found. Check the path and data.images.") from error
    return f"{view.image.resolve()}\t{state.size}\t{state.mtime_ns}\t{view.number}"


def _remove_leftovers(folder: Path) -> None:
    """What killed processes left behind; only with the folder's lock."""
    for file in [*folder.glob(".part-*.new"), *folder.glob("part-*.bin")]:
        if file.suffix == ".new" or not file.with_suffix(".json").is_file():
            file.unlink()


def _read_index(folder: Path, identity: RowIdentity) -> dict[str, tuple[str, int]]:
    """File and row by key; a file that is not as long as its index says is damaged and goes."""
    known: dict[str, tuple[str, int]] = {}
    for index in sorted(folder.glob("part-*.json")):
        keys, data = read_json(index), index.with_suffix(".bin")
        if not data.is_file() or data.stat().st_size != len(keys) * identity.row_bytes:
            logger.warning("%s: damaged; its %s are computed again", data, identity.what)
            index.unlink()
            data.unlink(missing_ok=True)
            continue
        known |= {key: (data.name, row) for row, key in enumerate(keys)}
    return known


def _reserve(
    root: Path, identity: RowIdentity, held: BinaryIO, wanted: Set[str], rows: int, limit_mb: int
) -> Path | None:
    """A file for so many rows to come; None, and a word in the log, if they do not fit."""
    own, limit, needed = root / identity.key, limit_mb * MIB, rows * identity.row_bytes
    with _room_lock(root):
        if _size_of(own) + needed > limit:
            _drop_unwanted(own, held, wanted)
        used = {folder: _size_of(folder) for folder in root.iterdir() if _is_ours(folder)}
        if used[own] + needed > limit:
            in_all = -(-(used[own] + needed) // MIB)
            logger.warning(
                "%s need %d MiB and %s is %d: %s", identity.what, in_all, identity.setting, limit_mb, identity.otherwise
            )
            return None
        excess = sum(used.values()) + needed - limit
        if not _make_room({folder: size for folder, size in used.items() if folder != own and size}, excess):
            logger.warning("%s: full of %s that other runs read; %s", root, identity.what, identity.otherwise)
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
        logger.info("%s: deleted, to make room for others", folder)
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


def _write_part(aside: Path, views: Sequence[View], keys: Mapping[View, str], compute: Compute, what: str) -> None:
    """Make and write rows aside, then put file and index in place; nothing is left if a picture is at fault."""
    bar = tqdm(total=len(views), desc=what, unit="img", disable=not sys.stderr.isatty(), leave=False)
    logger.info("computing %s of %d views of pictures", what, len(views))
    try:
        # A plain file, because a full disk under a memory map ends the process without a word.
        with aside.open("r+b") as stream, bar:
            for start in range(0, len(views), BATCH):
                part = views[start : start + BATCH]
                stream.write(compute(part).tobytes())
                bar.update(len(part))
        data = aside.with_name(aside.name[1:]).with_suffix(".bin")
        aside.replace(data)
        write_json(data.with_suffix(".json"), [keys[view] for view in views], indent=False)
    finally:
        aside.unlink(missing_ok=True)
