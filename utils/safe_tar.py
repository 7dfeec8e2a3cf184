"""Reads tar archives that may come from anybody: every member is checked by us, nothing but plain files is made."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

MOST_MEMBERS = 2000
"""A sealed model folder has about ten."""
MOST_BYTES = 200 * 10**9
"""Of all members together; the largest published captioner has 4 GB."""
MOST_HEADER = 1_000_000
"""Bytes between two files. Long names need a few thousand; the library keeps all of it in memory."""
MOST_RATIO = 100
"""Bytes for a byte of archive, once it is past :data:`SMALL`. Weights shrink to nine tenths, text to a third."""
SMALL = 100_000_000
MOST_NAME = 1000
MOST_DEPTH = 10
BLOCK = 1 << 20
END = b"\0" * 1024
"""Ends every tar archive."""


class Member(NamedTuple):
    """A plain file in an archive, to be read before the next one is asked for."""

    path: PurePosixPath
    """Inside the archive."""
    size: int
    content: Iterator[bytes]


def read_archive(file: Path) -> Iterator[Member]:
    """The plain files of a ``.tar`` or ``.tar.gz``, whatever its name; folders are passed over.

    Raises:
        ValueError: If it is none, is cut short or damaged, or has a member that is no plain file, leads out of its
            folder, comes twice, or is too large for what it is.
    """
    with file.open("rb") as raw:
        zipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        reader = _Counted(gzip.GzipFile(fileobj=raw, mode="rb") if zipped else raw, raw)
        with _telling(file, reader):
            for member in _read_members(reader):
                yield member._replace(content=_read_telling(member.content, file, reader))


def _read_telling(content: Iterator[bytes], file: Path, reader: _Counted) -> Iterator[bytes]:
    with _telling(file, reader):
        yield from content


@contextmanager
def _telling(file: Path, reader: _Counted) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, zlib.error, UnicodeError) as error:
        unknown = isinstance(error, tarfile.ReadError) and not reader.found
        fault = "is no .tar or .tar.gz archive, or damaged" if unknown else f"is cut short or damaged ({error})"
        raise ValueError(f"{file}: {fault}; copy it again") from error
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


class _Counted:
    """Bytes of a tar archive, counted, with a limit on how many are read before the next is set."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, raw: IO[bytes]) -> None:
        self._stream, self._raw = stream, raw
        self.total, self.found = 0, False
        self._limit, self._tail, self._end = 0, b"", 0

    def allow(self, size: int) -> None:
        """Let so many more bytes be read."""
        self._limit = self.total + size

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.total += len(data)
        if self.total > self._limit:
            raise ValueError("has a header of more than a megabyte, which no archive of a model has")
        if self.total > SMALL and self.total > MOST_RATIO * max(1, self._raw.tell()):
            raise ValueError(f"grows to more than {MOST_RATIO} times its size, which no archive of a model does")
        self._tail = (self._tail + data)[-len(END) :]
        if filled := len(data.rstrip(b"\0")):
            self._end = self.total - len(data) + filled
        return data

    def finish(self, offset: int) -> None:
        """Read to the end and make sure that it is one.

        Args:
            offset: Where the library found no further member. It says nothing of a damaged one there.
        """
        while True:
            self.allow(2 * BLOCK)
            if not self.read(BLOCK):
                break
        if self._tail != END:
            raise ValueError("is cut short: it has no end; copy it again")
        if self._end > offset:
            raise ValueError(f"is damaged at byte {offset:,}; copy it again")


def _read_members(reader: _Counted) -> Iterator[Member]:
    slack = 2 * tarfile.RECORDSIZE  # the library reads whole records
    reader.allow(MOST_HEADER)
    with tarfile.open(fileobj=cast(IO[bytes], reader), mode="r|", errorlevel=2) as archive:
        seen: dict[str, bool] = {}
        total = count = 0
        while True:
            reader.allow(MOST_HEADER)
            found = archive.next()
            if found is None:
                break
            count += 1
            if count > MOST_MEMBERS:
                raise ValueError(f"has more than {MOST_MEMBERS:,} members, which no archive of a model has")
            reader.found = True
            path = _check(found, seen)
            if path is None:
                continue
            total += found.size
            if total > MOST_BYTES:
                raise ValueError(f"holds more than {MOST_BYTES:,} bytes, which no archive of a model does")
            reader.allow(found.size + slack)
            stream = archive.extractfile(found)
            if stream is None:
                raise ValueError(f"{found.name}: has no content")
            yield Member(path, found.size, _read_blocks(stream, found))
    if not seen:
        raise ValueError("is empty, or no archive")
    reader.finish(archive.offset)


def _read_blocks(stream: IO[bytes], member: tarfile.TarInfo) -> Iterator[bytes]:
    left = member.size
    while left:
        block = stream.read(min(BLOCK, left))
        if not block:
            raise ValueError(f"{member.name}: is cut short; copy the archive again")
        left -= len(block)
        yield block


def _check(member: tarfile.TarInfo, seen: dict[str, bool]) -> PurePosixPath | None:
    """The path of a plain file, None for a folder; ``seen`` gets it, by name without case whether it is a file."""
    name, path = member.name, PurePosixPath(member.name)
    told = f"member {name[:200]!r}"
    if not (member.isreg() or member.isdir()) or member.issparse() or member.size < 0:
        raise ValueError(f"{told} is a link, a device or something else that is no plain file")
    if path.is_absolute() or ".." in path.parts or any(sign in name for sign in "\\:\0") or not name:
        raise ValueError(f"{told} leads out of its folder")
    if len(name) > MOST_NAME or len(path.parts) > MOST_DEPTH or any(len(part.encode()) > 255 for part in path.parts):
        raise ValueError(f"{told} has a longer name than any file of a model")
    key, is_file = str(path).casefold(), member.isreg()
    if is_file and (key == "." or key in seen):
        raise ValueError(f"{told} is in it twice")
    if any(seen.get(str(above).casefold()) for above in (path, *path.parents)):
        raise ValueError(f"{told} lies below a file")
    for above in path.parents:
        seen.setdefault(str(above).casefold(), False)
    seen[key] = is_file
    return path if is_file else None


def add_bytes(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    """Add a file whose entry depends on its name and content alone, so that equal folders make equal archives."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    archive.addfile(entry, content)


def open_writer(stream: IO[bytes]) -> tuple[gzip.GzipFile, tarfile.TarFile]:
    """A compressed archive to be written, without a name or a time in it; close the second, then the first."""
    # Level 1: weights shrink by a tenth at any level, and higher ones take three times as long.
    zipped = gzip.GzipFile(filename="", fileobj=stream, mode="wb", compresslevel=1, mtime=0)
    return zipped, tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT, bufsize=BLOCK)
