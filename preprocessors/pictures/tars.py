"""Members of a tar, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKERS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""Compression by the first bytes of a file."""
COPY_AGAIN = "Copy or make it again, or take it out of data.annotations."


class TarMember(NamedTuple):
    """A file in a tar: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


def tar_members(path: Path) -> Iterator[TarMember]:
    """The regular files of a tar in its order; only headers are read.

    Args:
        path: An uncompressed tar: in a compressed one nothing can be found without unpacking all before it.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged or cut short, even at the border of two members, or a name is not UTF-8.
    """
    import tarfile  # not light, and the table of formats is imported by every command

    count = 0
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep every header
                if member.isreg() and member.sparse is None:
                    count += 1
                    _check_name(path, member.name)
                    yield TarMember(member.name, member.offset_data, member.size)
            # The library ends in silence at a header that is damaged or not there; a whole tar ends with zeros.
            file.seek(archive.offset)
            is_whole = file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)
    except (tarfile.TarError, EOFError) as error:
        _check_packed(path)
        raise ValueError(
            f"{path}: the tar is damaged or cut short after {count} files ({error}). {COPY_AGAIN}"
        ) from error
    if not is_whole:
        raise ValueError(f"{path}: the tar is damaged or cut short after {count} files (no end mark). {COPY_AGAIN}")


def _check_packed(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    packer = next((name for magic, name in PACKERS.items() if start.startswith(magic)), None)
    if packer is not None:
        raise ValueError(f"{path}: is compressed ({packer}), and only plain tars are read. Unpack it with {packer} -d.")


def _check_name(path: Path, name: str) -> None:
    if not name.isascii() and name != name.encode(errors="replace").decode():
        raise ValueError(f"{path}: the name {name!a} is not UTF-8. Make the tar again with such names.")
