"""METEOR's resources: found in pycocoevalcap, compiled once into a file that all processes map into memory."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from metrics.meteor.lexicon import Lexicon
from metrics.meteor.paraphrases import Arrays, Paraphrases, compile_paraphrases
from metrics.meteor.words import Reader
from utils.io import hash_file, write_bytes

logger = logging.getLogger(__name__)

FORMAT = "StyleCap METEOR paraphrases 1"
"""Goes into the name of the file, so that another layout is another file."""
PARAPHRASES = 5_274_084  # of pycocoevalcap 1.2; for the bar alone
_ALIGNMENT = 64
_INSTALL = "install it again: `pip install --force-reinstall --no-deps pycocoevalcap==1.2`"
_lock = threading.Lock()
_readers: dict[tuple[Path, Path], Reader] = {}


class Sources(NamedTuple):
    """Files of pycocoevalcap."""

    jar: Path
    paraphrases: Path


def find_sources() -> Sources:
    """Where METEOR's own files are.

    Raises:
        FileNotFoundError: If pycocoevalcap or one of them is not there.
    """
    package = find_spec("pycocoevalcap")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("pycocoevalcap is not installed; run `pip install pycocoevalcap==1.2`")
    folder = Path(package.submodule_search_locations[0]) / "meteor"
    found = Sources(folder / "meteor-1.5.jar", folder / "data" / "paraphrase-en.gz")
    missing = [str(path) for path in found if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"METEOR needs {' and '.join(missing)} of pycocoevalcap; {_INSTALL}")
    return found


def cache_folder() -> Path:
    """Where compiled resources are kept: ``stylecap`` in the user's folder for caches."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stylecap" / "meteor"


def open_reader() -> Reader:
    """The one reader of this process, made when it is first asked for.

    Raises:
        FileNotFoundError: As ``find_sources``.
        ValueError: If one of METEOR's files is damaged.
        OSError: If one cannot be read.
    """
    with _lock:
        sources = find_sources()
        if sources not in _readers:
            _readers[sources] = Reader(Lexicon(sources.jar), Paraphrases(open_arrays(sources.paraphrases)))
        return _readers[sources]


def open_arrays(source: Path, folder: Path | None = None) -> Arrays:
    """The compiled paraphrases, compiled if nobody has yet.

    Where the folder cannot be used they are compiled for this process alone, with a warning.

    Args:
        source: METEOR's ``paraphrase-en.gz``.
        folder: Where compiled files are kept; None for ``cache_folder()``.
    """
    path = (folder or cache_folder()) / f"{hash_file(source)[:32]}-{FORMAT.rsplit(' ', 1)[1]}.bin"
    kept = _load_or_tell(path)
    if kept is not None:
        return kept
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            # Another process may have been the first.
            kept = _load_or_tell(path)
            if kept is None:
                arrays = _compile(source)
                try:
                    write_bytes(path, _encode(arrays))
                except (OSError, ValueError) as error:
                    return _unkept(arrays, path, error)
                kept = _load_or_tell(path)
            return arrays if kept is None else kept
    except (OSError, NotImplementedError) as error:
        return _unkept(_compile(source), path, error)


def _unkept(arrays: Arrays, path: Path, error: Exception) -> Arrays:
    logger.warning(
        "%s: cannot be kept (%s): METEOR's paraphrases are compiled again by every process; set XDG_CACHE_HOME to a "
        "folder with 100 MB to write to",
        path,
        getattr(error, "strerror", None) or error,
    )
    return arrays


def _compile(source: Path) -> Arrays:
    logger.info("compiling METEOR's paraphrases, once for all later runs; this takes about half a minute")
    with tqdm(total=PARAPHRASES, desc="METEOR's paraphrases", disable=not sys.stderr.isatty(), leave=False) as bar:
        return compile_paraphrases(source, _moves(bar))


def _moves(bar: tqdm) -> Callable[[int], object]:
    return lambda done: bar.update(done - bar.n)


def _load_or_tell(path: Path) -> Arrays | None:
    """The arrays of a file; None if there is none or, with a warning, if it is damaged."""
    if not path.is_file():
        return None
    try:
        return _load(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s: damaged (%s); it is compiled again", path, error)
        return None


def _encode(arrays: Arrays) -> bytearray:
    """A line of JSON that says where each array is, and the arrays."""
    places: dict[str, dict[str, Any]] = {}
    end = crc = 0
    for name, values in arrays.items():
        padding = -end % _ALIGNMENT
        crc = zlib.crc32(values.data, zlib.crc32(bytes(padding), crc))
        places[name] = {"dtype": values.dtype.str, "shape": values.shape, "offset": end + padding}
        end += padding + values.nbytes
    line = json.dumps({"format": FORMAT, "size": end, "crc32": crc, "arrays": places}).encode()
    line = line.ljust(len(line) + -(len(line) + 1) % _ALIGNMENT) + b"\n"
    # One copy of the arrays, which are large.
    content = bytearray(len(line) + end)
    content[: len(line)] = line
    for name, values in arrays.items():
        start = len(line) + places[name]["offset"]
        content[start : start + values.nbytes] = values.data.cast("B")
    return content


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as file:
        header = json.loads(file.readline(1 << 16))
        start, crc = file.tell(), 0
        if header["format"] != FORMAT or path.stat().st_size != start + header["size"]:
            raise ValueError("not as long as it says, or of another format")
        while part := file.read(1 << 22):
            crc = zlib.crc32(part, crc)
    if crc != header["crc32"]:
        raise ValueError("its checksum is wrong")
    data = np.memmap(path, dtype=np.uint8, mode="r", offset=start)
    arrays = {}
    for name, place in header["arrays"].items():
        dtype = np.dtype(place["dtype"])
        size = dtype.itemsize * int(np.prod(place["shape"]))
        values = data[place["offset"] : place["offset"] + size].view(dtype)
        arrays[name] = np.asarray(values.reshape(place["shape"]))
    return arrays
