"""Pictures inside containers: where each lies, kept for the containers that were used last."""

from __future__ import annotations

import logging
import os
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Protocol

from preprocessors.pictures.columnar import open_table, picture_column
from preprocessors.pictures.tars import tar_members
from preprocessors.pictures.tsv import decode_picture, tsv_lines

logger = logging.getLogger(__name__)

MOST_MEMBERS = 1_000_000
"""Members whose places a process remembers, over all containers; about 200 bytes each."""
MOST_GROUPS = 2
"""Row groups of a table that are held; threads that read in order stand on both sides of a border at times."""


class Container(Protocol):
    """What is inside a container. Has no open file, so that processes that fork share nothing but memory."""

    def __len__(self) -> int:
        """Number of members."""

    def names(self) -> Iterable[str]:
        """Of its members, as :func:`member_name` writes them."""

    def size_of(self, name: str) -> int:
        """Bytes that a member takes there, or all that are read with it; raises KeyError if there is none."""

    def length_of(self, name: str) -> int:
        """Bytes of a member alone, the same for the same picture; raises as :meth:`read`."""

    def read(self, name: str) -> bytes:
        """A member's picture; raises KeyError if there is none, ValueError if it is damaged."""


class _Places:
    """Members by offset and size; a name that comes again keeps its first place."""

    def __init__(self, path: Path, members: Iterable[tuple[str, int, int]]) -> None:
        self.path = path
        self._numbers: dict[str, int] = {}
        self._offsets, self._sizes = array("Q"), array("Q")
        for name, offset, size in members:
            if self._numbers.setdefault(name, len(self._offsets)) == len(self._offsets):
                self._offsets.append(offset)
                self._sizes.append(size)

    def __len__(self) -> int:
        return len(self._numbers)

    def names(self) -> Iterable[str]:
        return self._numbers.keys()

    def size_of(self, name: str) -> int:
        return self._sizes[self._numbers[name]]

    def length_of(self, name: str) -> int:
        return self.size_of(name)

    def read(self, name: str) -> bytes:
        number = self._numbers[name]
        return read_part(self.path, self._offsets[number], self._sizes[number])


class _Tar(_Places):
    def __init__(self, path: Path) -> None:
        super().__init__(path, ((member_name(name), offset, size) for name, offset, size in tar_members(path)))


class _Tsv(_Places):
    def __init__(self, path: Path) -> None:
        bad: list[ValueError] = []
        lines = tsv_lines(path, lambda row, error: bad.append(error))
        super().__init__(path, ((member_name(line.image_id), line.offset, line.size) for line in lines))
        if bad and not len(self):
            raise bad[0]
        if bad:
            logger.warning("%s; of %d such rows no picture is read", bad[0], len(bad))

    def read(self, name: str) -> bytes:
        return decode_picture(super().read(name))


class _Columnar:
    """A table's picture column; a member's name is its row, from 1. The groups that were read last are kept."""

    def __init__(self, path: Path) -> None:
        self._table = open_table(path)
        self._column = picture_column(path, self._table)
        self._lock = threading.Lock()
        self._groups: OrderedDict[int, list[dict[str, Any]]] = OrderedDict()

    def __len__(self) -> int:
        return self._table.starts[-1]

    def names(self) -> Iterable[str]:
        return map(str, range(1, len(self) + 1))

    def size_of(self, name: str) -> int:
        return self._table.bytes_of(self._place(name)[0])

    def length_of(self, name: str) -> int:
        return len(self.read(name))  # the file does not say

    def read(self, name: str) -> bytes:
        group, number = self._place(name)
        with self._lock:
            if group not in self._groups:
                self._groups[group] = self._table.read(group, [self._column])
            self._groups.move_to_end(group)
            while len(self._groups) > MOST_GROUPS:
                self._groups.popitem(last=False)
            value = self._groups[group][number][self._column]
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ValueError(f"column {self._column!r} holds no bytes of a picture in this row")
        return content

    def _place(self, name: str) -> tuple[int, int]:
        row = int(name) - 1 if name.isascii() and name.isdigit() else -1
        if not 0 <= row < len(self):
            raise KeyError(name)
        group = bisect_right(self._table.starts, row) - 1
        return group, row - self._table.starts[group]


CONTAINERS: dict[str, Callable[[Path], Container]] = {
    ".tar": _Tar,
    ".tsv": _Tsv,
    ".parquet": _Columnar,
    ".arrow": _Columnar,
}
"""By the file's suffix."""


class Place(NamedTuple):
    """A container, and the name of something in it."""

    file: Path
    name: str


def member_name(name: str) -> str:
    """A member's name as paths write it: without ``./``, a leading or a doubled ``/``."""
    return str(PurePosixPath(name.lstrip("/")))


def place_of(path: Path) -> Place | None:
    """The container that a path leads into, and what it names there; None if no parent of it is a file."""
    for parent in path.parents:
        if parent.is_file():
            return Place(parent, path.relative_to(parent).as_posix())
        if parent.is_dir():
            return None
    return None


def open_container(path: Path) -> Container:
    """What is inside a container; looked up anew if the file has changed since.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, or no container that is known.
    """
    return _CACHE.get(path)


def read_part(path: Path, offset: int, size: int) -> bytes:
    """Bytes of a file.

    Raises:
        ValueError: If the file ends before.
    """
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        parts, left = [], size
        while left and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
    if left:
        raise ValueError(f"{path}: ends in the middle of a picture. Copy it again.")
    return b"".join(parts)


class _Cache:
    """The containers that were used last, at least one; threads wait for one another."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._known: OrderedDict[Path, tuple[tuple[int, ...], Container]] = OrderedDict()

    def get(self, path: Path) -> Container:
        status = path.stat()
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        with self.lock:
            known = self._known.get(path)
            if known is None or known[0] != state:
                known = self._known[path] = state, _make(path)
            self._known.move_to_end(path)
            while len(self._known) > 1 and sum(len(container) for _, container in self._known.values()) > MOST_MEMBERS:
                self._known.popitem(last=False)
        return known[1]


def _make(path: Path) -> Container:
    kind = CONTAINERS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(
            f"{path}: is a file and no container of pictures that is known here ({', '.join(CONTAINERS)})."
        )
    return kind(path)


_CACHE = _Cache()
# A child that forks while another thread holds the lock would wait for ever.
os.register_at_fork(before=_CACHE.lock.acquire, after_in_parent=_CACHE.lock.release, after_in_child=_CACHE.lock.release)


def names_below(path: Path) -> Iterator[str]:
    """Names of the members that lie directly in a container, or in a folder inside it."""
    place = Place(path, "") if path.is_file() else place_of(path)
    if place is None:
        return
    folder = f"{place.name}/" if place.name else ""
    for name in open_container(place.file).names():
        if name.startswith(folder) and "/" not in name[len(folder) :]:
            yield name[len(folder) :]
