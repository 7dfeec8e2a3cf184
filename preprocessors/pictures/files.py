"""The one place where the bytes of a picture come from.

A picture has a path: that of its file, or, where it lies in a container, the container's path and the picture's name
in it, such as ``shards/000.tar/000123.jpg``, ``train.tsv/391895`` (an image id) or ``train.parquet/57`` (a row from 1).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO, NamedTuple

from preprocessors.pictures.containers import Place, names_below, open_container, place_of
from preprocessors.pictures.refusals import fault_of_mode, fault_of_place

logger = logging.getLogger(__name__)

PICTURE_SUFFIXES = frozenset(".jpg .jpeg .png .webp .gif .bmp .tif .tiff .heic .heif .avif .ppm .pgm .jp2".split())
"""What a file must end with to be taken for a picture where nothing names it."""
_held: ContextVar[tuple[Path, bytes] | None] = ContextVar("held", default=None)


class PictureState(NamedTuple):
    """What changes when a picture is changed: its bytes, and the time of the file it lies in, in nanoseconds.

    In a Parquet or Arrow file the size is that of the rows that are read together with it.
    """

    size: int
    mtime_ns: int


def open_picture(path: Path) -> BinaryIO:
    """The bytes of a picture, from their beginning; to be closed. Never waits for a pipe.

    Raises:
        FileNotFoundError: If there is no such file, or no such picture in its container.
        OSError: If it cannot be read, or is no regular file.
        ValueError: If its container is damaged.
    """
    held = _held.get()
    if held is not None and held[0] == path:
        return io.BytesIO(held[1])
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except NotADirectoryError:
        place = _require_place(path)
        try:
            return io.BytesIO(open_container(place.file).read(place.name))
        except KeyError:
            raise _no_member(place) from None
    except OSError as error:
        if reason := fault_of_place(path):
            raise OSError(reason) from error
        raise
    if reason := fault_of_mode(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(reason)
    return os.fdopen(descriptor, "rb")


def stat_picture(path: Path) -> PictureState:
    """Size and time of a picture.

    Raises:
        FileNotFoundError: If there is no such file, or no such picture in its container.
        OSError: If it cannot be reached.
        ValueError: If its container is damaged.
    """
    try:
        status = path.stat()
    except NotADirectoryError:
        place = _require_place(path)
        try:
            return PictureState(open_container(place.file).size_of(place.name), place.file.stat().st_mtime_ns)
        except KeyError:
            raise _no_member(place) from None
    return PictureState(status.st_size, status.st_mtime_ns)


def length_of_picture(path: Path) -> int:
    """What two pictures have in common if their bytes are the same: their number, in a TSV that of their base64.

    In a Parquet or Arrow file the picture is read for it. Raises as :func:`stat_picture`.
    """
    try:
        return path.stat().st_size
    except NotADirectoryError:
        place = _require_place(path)
        try:
            return open_container(place.file).length_of(place.name)
        except KeyError:
            raise _no_member(place) from None


def hash_picture(path: Path) -> str:
    """SHA-256 (hex) of a picture's bytes; raises as :func:`open_picture`."""
    with open_picture(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # a BytesIO is fine


def holds_pictures(path: Path) -> bool:
    """Whether pictures can lie in there: a folder, a container, or a folder inside one."""
    return path.is_dir() or path.is_file() or place_of(path) is not None


def list_pictures(folder: Path) -> frozenset[str]:
    """Names of the regular files in a folder, or of the members directly in a container; empty if it is neither.

    One listing, because on network drives a stat costs milliseconds.
    """
    if not folder.is_dir():
        return frozenset(names_below(folder))
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if is_regular(entry))


def walk_folders(
    folder: Path,
    above: frozenset[tuple[int, int]] = frozenset(),
    *,
    unreadable: Callable[[Path], None] | None = None,
) -> Iterator[tuple[Path, list[str]]]:
    """A folder and those below it, each with the sorted names of what is no folder in it.

    Hidden folders are left out; a link back to a folder above it is told and left.

    Args:
        folder: Where to begin.
        above: Folders on the way there, by device and number.
        unreadable: Is told of folders below that cannot be listed, which are left out; None raises.

    Raises:
        OSError: If a folder cannot be listed.
    """
    try:
        status = folder.stat()
        own = (status.st_dev, status.st_ino)
        if own in above:
            logger.warning("%s: a link to a folder above it; left out", folder)
            return
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError:
        if not above or unreadable is None:
            raise
        unreadable(folder)
        return
    yield folder, [name for name, is_folder in found if not is_folder]
    for name, is_folder in found:
        if is_folder and not name.startswith("."):
            yield from walk_folders(folder / name, above | {own}, unreadable=unreadable)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_regular(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder leads to a regular file; one that leads round in a circle does not."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_there(entry: os.DirEntry[str]) -> bool:
    """Whether something lies there; if it is no file, opening the picture says what it is, with the row."""
    try:
        return not entry.is_symlink() or entry.stat() is not None
    except FileNotFoundError:
        return False
    except OSError:  # a link that leads in a circle
        return True


@contextmanager
def picture_at_hand(path: Path, content: bytes) -> Iterator[None]:
    """Meanwhile :func:`open_picture` gives these bytes for that path, in this thread."""
    token = _held.set((path, content))
    try:
        yield
    finally:
        _held.reset(token)


def _require_place(path: Path) -> Place:
    place = place_of(path)
    if place is None:
        raise FileNotFoundError(f"{path}: no such file")
    return place


def _no_member(place: Place) -> FileNotFoundError:
    return FileNotFoundError(f"{place.file}: holds no {place.name!r}")
