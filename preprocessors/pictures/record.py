"""What opening pictures found, kept by path, size and time of change, so that no run opens them all again.

    record = PictureRecord(Path("work_dir/.pictures"))
    faults = record.find_faults(paths, find_fault)

One file of fixed-size rows, written aside and renamed into place under a lock: any number of processes may read and
fill it. Only pictures that could be read are kept: a plugin that was installed since must count at once.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from preprocessors.pictures.files import stat_picture
from preprocessors.pictures.inspection import PictureFacts, inspect_picture
from utils.io import write_bytes

logger = logging.getLogger(__name__)

Judge = Callable[[Path], str | None]
"""What is wrong with a picture, in words; None if it can be read."""

FACTS = np.dtype(
    [
        *(("key", "u8"), ("kept_at", "u4"), ("width", "u4"), ("height", "u4"), ("orientation", "u1")),
        *(("file_hash", "u8"), ("pixel_hash", "u8"), ("across", "u8"), ("down", "u8")),
        *(("is_flat", "?"), ("grey_share", "f4"), ("has_hole", "?")),
    ]
)
"""A row of the file; ``key`` stands for path, size and time, 0 for nothing known."""
FILE_NAME = "pictures-2.npy"
"""The number changes with what is written, so that older files are left alone."""
LIMIT = 2_000_000
"""Most rows that are kept, 120 MB; beyond it the oldest go."""
BLOCK = 10_000
"""Pictures opened between two writings: what an interrupted start has to open again at most."""
SETTLED = 2.0
"""Seconds since its last change after which a file's time tells of the next one: clocks of file systems are coarse."""


class _Opened(NamedTuple):
    fault: str | None
    facts: PictureFacts | None


class PictureRecord:
    """A record of opened pictures.

    Args:
        folder: Where it is kept, made when there is something to keep; None keeps it in memory alone.

    Attributes:
        opened: Pictures that this object had to open so far.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.opened = 0
        self._kept = _read(folder / FILE_NAME) if folder is not None else _nothing()

    def find_faults(self, paths: Sequence[Path], judge: Judge) -> dict[Path, str]:
        """What is wrong with those that cannot be read; those that are not known are opened, on all cores.

        Args:
            paths: Pictures, each once.
            judge: Opens a picture and says what is wrong with it.

        Returns:
            By path the words of ``judge``.
        """
        keys = {path: key for path in paths if (key := _key_of(path))}
        known = dict(zip(keys, self._rows([*keys.values()])["key"] != 0, strict=True))
        unknown = [path for path in paths if not known.get(path)]
        faults: dict[Path, str] = {}
        with (
            ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
            tqdm(total=len(unknown), desc="checking pictures", unit="img", disable=None, leave=False) as bar,
        ):
            for start in range(0, len(unknown), BLOCK):
                block = unknown[start : start + BLOCK]
                found = []
                for path, opened in zip(block, pool.map(lambda path: _open(path, judge), block), strict=True):
                    bar.update()
                    if opened.fault is not None:
                        faults[path] = opened.fault
                    elif opened.facts is not None and path in keys:
                        found.append((path, keys[path], opened.facts))
                self.opened += len(block)
                self._keep(found)
        return faults

    def facts(self, paths: Sequence[Path]) -> NDArray[Any]:
        """What is known of pictures: a row of ``FACTS`` for each, in order; its ``key`` is 0 where nothing is."""
        return self._rows([_key_of(path) for path in paths])

    def _rows(self, keys: Sequence[int]) -> NDArray[Any]:
        wanted = np.array(keys, dtype=np.uint64)
        rows = np.zeros(len(wanted), dtype=FACTS)
        if len(self._kept) and len(wanted):
            places = np.searchsorted(self._kept["key"], wanted).clip(max=len(self._kept) - 1)
            found = (self._kept["key"][places] == wanted) & (wanted != 0)
            rows[found] = self._kept[places[found]]
        return rows

    def _keep(self, found: Sequence[tuple[Path, int, PictureFacts]]) -> None:
        now = time.time()
        rows = np.zeros(len(found), dtype=FACTS)
        for row, (_, key, facts) in zip(rows, found, strict=True):
            row["key"], row["kept_at"] = key, int(now)
            for name, value in facts._asdict().items():
                row[name] = value
        self._kept = _join(self._kept, rows)
        if self.folder is None:
            return
        settled = np.array([_is_settled(path, key, now) for path, key, _ in found], dtype=bool)
        if not settled.any():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / "lock"):
                whole = _join(_read(self.folder / FILE_NAME), rows[settled])
                if len(whole) > LIMIT:
                    newest = np.argsort(whole["kept_at"], kind="stable")[-LIMIT:]
                    whole = whole[np.sort(newest)]
                buffer = io.BytesIO()
                np.save(buffer, whole, allow_pickle=False)
                write_bytes(self.folder / FILE_NAME, buffer.getvalue())
        except OSError as error:
            logger.warning("%s: cannot be written (%s): the pictures are opened again next time", self.folder, error)


def _open(path: Path, judge: Judge) -> _Opened:
    fault = judge(path)
    if fault is not None:
        return _Opened(fault, None)
    try:
        return _Opened(None, inspect_picture(path))
    except Exception as error:
        # The judge has the last word on whether a picture is fit for use; not to know its hashes is no reason to stop.
        logger.debug("%s: readable, but not looked into: %s", path, error)
        return _Opened(None, None)


def _key_of(path: Path) -> int:
    """Stands for path, size and time of change; 0 if there is no such file."""
    try:
        state = stat_picture(path)
    except (OSError, ValueError):  # ValueError: of a damaged file that pictures lie in
        return 0
    place = f"{os.path.abspath(path)}\t{state.size}\t{state.mtime_ns}"
    return int.from_bytes(hashlib.blake2b(place.encode(errors="surrogateescape"), digest_size=8).digest(), "little")


def _is_settled(path: Path, key: int, now: float) -> bool:
    """Whether a file has stayed as it was when its key was made, and a change from now on would show in its time."""
    try:
        return now - stat_picture(path).mtime_ns / 1e9 > SETTLED and _key_of(path) == key
    except (OSError, ValueError):
        return False


def _nothing() -> NDArray[Any]:
    return np.zeros(0, dtype=FACTS)


def _read(file: Path) -> NDArray[Any]:
    """Rows sorted by key; none if there is no such file or it is damaged."""
    try:
        rows: NDArray[Any] = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        return _nothing()
    except (OSError, ValueError, EOFError) as error:
        logger.warning("%s: cannot be read (%s): the pictures are opened again", file, error)
        return _nothing()
    if rows.dtype != FACTS or rows.ndim != 1 or (rows["key"][1:] <= rows["key"][:-1]).any():
        logger.warning("%s: damaged: the pictures are opened again", file)
        return _nothing()
    return rows


def _join(rows: NDArray[Any], newer: NDArray[Any]) -> NDArray[Any]:
    """Both, sorted by key, each key once; of two with one key the newer."""
    whole = np.concatenate([newer, rows])
    _, firsts = np.unique(whole["key"], return_index=True)
    joined: NDArray[Any] = whole[firsts]
    return joined


def groups_of(rows: NDArray[Any], name: str) -> Iterator[NDArray[np.int64]]:
    """Groups of places whose rows have the same value of ``name``; those with nothing known are left out."""
    places = np.flatnonzero(rows["key"])
    ordered = places[np.argsort(rows[name][places], kind="stable")]
    cuts = np.flatnonzero(np.diff(rows[name][ordered])) + 1
    yield from (group for group in np.split(ordered, cuts) if len(group) > 1)
