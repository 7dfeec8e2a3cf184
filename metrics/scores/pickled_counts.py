"""The pickles of document frequencies that self-critical.pytorch makes, read without executing them."""

from __future__ import annotations

import math
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from metrics.scores.ngrams import MAX_NGRAM, Ngram


def read_counts(path: Path) -> tuple[dict[Ngram, float], int]:
    """Read ``{"document_frequency": {n-gram: documents}, "ref_len": number of documents}``.

    Only containers and numbers are made; nothing else that the file names is imported or called. Byte strings of
    Python 2 are taken as Latin-1, as the published scorers take them. ``ref_len`` is the number of documents, or
    in files of the first such scorer its logarithm.

    Args:
        path: A ``.p`` file, of any pickle protocol.

    Returns:
        In how many documents each n-gram is, by its words, and the number of all documents.

    Raises:
        ValueError: If the file is something else, is damaged, or asks for anything to be run.
    """
    try:
        with path.open("rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
    except Exception as error:  # Foreign and damaged pickles raise anything.
        raise ValueError(f"{path}: not a pickle of document frequencies, or damaged ({error}).") from error
    return _checked_counts(path, content)


class _NumberType:
    """Stands in a pickle for ``numpy.dtype``."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.code = f"{state[1]}{self.code}"


def _number(kind: _NumberType, data: bytes | str) -> float:
    """Stands in a pickle for the making of a numpy scalar."""
    if kind.code.lstrip("<>=") not in ("f4", "f8", "i4", "i8"):
        raise pickle.UnpicklingError(f"has numbers of type {kind.code!r}")
    return float(np.frombuffer(data.encode("latin-1") if isinstance(data, str) else data, kind.code)[0])


def _latin_bytes(text: str, encoding: str) -> bytes:
    """Stands in a pickle for ``_codecs.encode``, which old protocols carry bytes with."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"has bytes in {encoding!r}")
    return text.encode("latin-1")


_STAND_INS = {
    "builtins.float": float,
    "builtins.int": int,
    "__builtin__.float": float,
    "__builtin__.int": int,
    "__builtin__.long": int,
    "collections.defaultdict": defaultdict,
    "numpy.dtype": _NumberType,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
    "_codecs.encode": _latin_bytes,
}
"""All that a pickle may name, and what it gets."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no document frequency needs: not run")
        return _STAND_INS[f"{module}.{name}"]


def _checked_counts(path: Path, content: Any) -> tuple[dict[Ngram, float], int]:
    """Documents by n-gram, and the number of all documents."""
    if not isinstance(content, dict) or not {"document_frequency", "ref_len"} <= content.keys():
        kind = f"a dictionary of {len(content)} others" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise ValueError(f"{path}: needs a dictionary with document_frequency and ref_len, but holds {kind}.")
    counts, ref_len = content["document_frequency"], content["ref_len"]
    if not isinstance(counts, dict) or not counts or not all(map(_is_count, counts.items())):
        raise ValueError(f"{path}: document_frequency must hold numbers by tuples of 1 to {MAX_NGRAM} words.")
    if not isinstance(ref_len, int | float) or not 0 < ref_len < 2**53 or (ref_len % 1 and ref_len > 36):
        raise ValueError(f"{path}: ref_len={ref_len!r} must be the number of documents, or its logarithm.")
    # The first scorer with such files stored the logarithm, which is never a whole number.
    documents = round(math.exp(ref_len) if ref_len % 1 else ref_len)
    largest = max(counts.values())
    if documents < largest:
        raise ValueError(
            f"{path}: ref_len={ref_len!r} means {documents} documents, but an n-gram is in {str(largest)[:20]}."
        )
    return counts, documents


def _is_count(item: tuple[Any, Any]) -> bool:
    ngram, count = item
    return (
        isinstance(ngram, tuple)
        and 1 <= len(ngram) <= MAX_NGRAM
        and all(isinstance(word, str) for word in ngram)
        and isinstance(count, int | float)
        and 0 <= count < math.inf
    )
