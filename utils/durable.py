"""Folders that are there whole or not at all, whatever moment the machine stops at."""

from __future__ import annotations

import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STAGED = ".tmp-"
"""Begins the name of a folder that is being written."""
REPLACED = ".replaced-"
"""Begins the name of a whole folder whose successor is about to take its place."""
HALF_WRITTEN = ".*.tmp"
"""Files that ``utils.io.write_bytes`` was writing."""
REMOVED = ".removed-"
"""Begins the name of a folder that is being removed."""
RANDOM = "[0-9a-f]" * 8
"""Ends the name of a folder that was moved aside; so ``.removed-a-b-...`` is not taken for one of ``a``."""


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which takes the place of ``folder`` when the block ends well.

    What stood there before goes only after its successor is in place; a block that fails leaves it as it was. What a
    killed program had moved aside is put back first, and what it left besides is cleared away, so only one process at a
    time may write a folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(folder)
    aside = folder.with_name(f"{STAGED}{folder.name}")
    remove_folder(aside)
    aside.mkdir()
    try:
        yield aside
        sync_tree(aside)
        put_in_place(aside, folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def put_in_place(aside: Path, folder: Path) -> None:
    """Rename a folder to its own name, in place of an older one, and make the change last."""
    old = folder.with_name(f"{REPLACED}{folder.name}-{secrets.token_hex(4)}")
    if folder.exists():
        folder.rename(old)
    try:
        aside.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    sync_folder(folder.parent)
    for replaced in _moved_aside(REPLACED, folder):
        remove_folder(replaced)
    for removed in _moved_aside(REMOVED, folder):  # by programs that were killed at it
        shutil.rmtree(removed, ignore_errors=True)


def recover_folder(folder: Path) -> bool:
    """Put back the folder that :func:`put_in_place` had moved aside when its program was killed; whether there was one.

    Between its two renames nothing has the folder's own name. What is set aside is whole.
    """
    if folder.exists():
        return False
    for old in _moved_aside(REPLACED, folder):
        old.rename(folder)
        sync_folder(folder.parent)
        return True
    return False


def _moved_aside(kind: str, folder: Path) -> list[Path]:
    return sorted(folder.parent.glob(f"{kind}{glob.escape(folder.name)}-{RANDOM}"))


def _own_name(folder: Path) -> str:
    """That of a folder before it was replaced."""
    if not folder.name.startswith(REPLACED):
        return folder.name
    return folder.name.removeprefix(REPLACED).rpartition("-")[0]


def remove_folder(folder: Path) -> None:
    """Remove a folder that may be missing; one that is only half removed no longer has its name."""
    if not folder.exists():
        return
    aside = folder.with_name(f"{REMOVED}{_own_name(folder)}-{secrets.token_hex(4)}")
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def clear_leftovers(parent: Path) -> None:
    """Put back what killed programs had set aside, remove what they had begun to write or to remove."""
    for old in parent.glob(f"{REPLACED}*"):
        recover_folder(parent / _own_name(old))
    for kind in (STAGED, REMOVED, REPLACED):
        for path in parent.glob(f"{kind}*"):
            shutil.rmtree(path, ignore_errors=True)
    for file in parent.glob(HALF_WRITTEN):
        file.unlink(missing_ok=True)


def sync_tree(folder: Path) -> None:
    """Have every file and folder below written to the disk, not only to the system's memory."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(root, name))
        sync_folder(Path(root))


def sync_file(file: Path) -> None:
    """Have a file's bytes written to the disk, and forgotten by memory, so that they are read from there next."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Have a folder's list of names written to the disk; systems that cannot are left alone."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
