"""METEOR's table of paraphrases as arrays: which phrases there are, and what each may be said as instead."""

from __future__ import annotations

import gzip
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
IntArray = NDArray[np.int64]
Phrases = tuple[NDArray[np.uint64], NDArray[np.uint64]]
"""Hashes, shape (N,), and the numbers of the words, shape (N, 2)."""

LONGEST = 8
"""Words that a phrase can have here; METEOR's longest have seven."""
_SKETCH = 24  # bits
_MOST_WORDS = 2**16 - 1
_BLOCK, _BLOCKS = 50_000, 4  # paraphrases that are read at once, and how often until their phrases are sorted in
_LINES = 3  # of a paraphrase: its probability, the phrase, the other phrase
_MASKS = np.tril(np.full((LONGEST, LONGEST), 2**16 - 1, dtype="<u2")).view("<u8")
"""What of the codes of eight words is that of the first 1, 2, ...: shape (8, 2)."""


class Paraphrases:
    """Phrases by number, found by their words, and what stands for each.

    Attributes:
        words: Number of each word that is in a phrase, from 1.
    """

    def __init__(self, arrays: Arrays) -> None:
        """Take what ``compile_paraphrases`` made."""
        listed = bytes(arrays["vocabulary"].tobytes()).decode().split("\n")
        self.words = {word: number for number, word in enumerate(listed, start=1)}
        self._keys, self._codes = arrays["keys"], arrays["codes"]
        self._offsets, self._targets = arrays["offsets"], arrays["targets"]
        # A bit for each beginning of a hash: most of what is looked for is not there, and that is soon told.
        begins = np.zeros(2**_SKETCH, dtype=np.bool_)
        begins[self._keys >> np.uint64(64 - _SKETCH)] = True
        self._sketch = np.packbits(begins, bitorder="little")

    def targets(self, phrase: int) -> list[int]:
        """The phrases that may stand for a phrase, in the order of the table."""
        start, end = self._offsets[phrase : phrase + 2].tolist()
        found: list[int] = self._targets[start:end].tolist()
        return found

    def find(self, lines: Sequence[Sequence[int]]) -> Iterator[list[tuple[int, int, int, bool]]]:
        """The phrases of captions.

        Args:
            lines: Of each caption the numbers of its words, 0 for a word that is in no phrase.

        Yields:
            For each caption its phrases, by place and then by length: the place of the first word, the number of
            words, the number of the phrase, and whether another phrase may stand for it.
        """
        lengths = np.array([len(line) for line in lines], dtype=np.int64)
        # A 0 behind each caption, so that no phrase spans two.
        numbers = np.array([number for line in lines for number in (*line, 0)] + [0] * LONGEST, dtype="<u2")
        windows = np.lib.stride_tricks.sliding_window_view(numbers, LONGEST)[: len(numbers) - LONGEST].copy()
        known = np.minimum.accumulate(windows != 0, axis=1)
        places, sizes = np.nonzero(known)
        phrases = self._search(windows.view("<u8")[places] & _MASKS[sizes])
        found = phrases >= 0
        places, sizes, phrases = places[found], sizes[found] + 1, phrases[found]
        starts = np.cumsum(lengths + 1) - (lengths + 1)
        sources = self._offsets[phrases] < self._offsets[phrases + 1]
        rows = np.searchsorted(starts, places, side="right") - 1
        ends = np.searchsorted(rows, np.arange(len(lines)), side="right").tolist()
        columns = ((places - starts[rows]).tolist(), sizes.tolist(), phrases.tolist(), sources.tolist())
        entries = list(zip(*columns, strict=True))
        start = 0
        for end in ends:
            yield entries[start:end]
            start = end

    def _search(self, codes: NDArray[np.uint64]) -> IntArray:
        """Number of the phrase with each code, -1 where there is none."""
        keys = _mix(codes)
        bits = keys >> np.uint64(64 - _SKETCH)
        likely = np.flatnonzero(self._sketch[bits >> np.uint64(3)] >> (bits & np.uint64(7)) & 1)
        # Neighbours in the table are looked up one behind the other.
        order = likely[np.argsort(keys[likely])]
        places = np.searchsorted(self._keys, keys[order])
        places[places == len(self._keys)] = 0
        is_same = (self._codes[places] == codes[order]).all(axis=1)
        found = np.full(len(keys), -1)
        found[order[is_same]] = places[is_same]
        return found


def compile_paraphrases(path: Path, progress: Callable[[int], object]) -> dict[str, NDArray[Any]]:
    """Read METEOR's ``paraphrase-en.gz``.

    Args:
        path: The file.
        progress: Called now and then with how many paraphrases have been read.

    Raises:
        ValueError: If the file is damaged, or has more words than can be numbered here.
        OSError: If it cannot be read.
    """
    vocabulary: dict[bytes, int] = {}
    known: Phrases = np.zeros(0, dtype=np.uint64), np.zeros((0, 2), dtype="<u8")
    waiting: list[Phrases] = []
    # As hashes until all phrases are known: their texts together would take more memory than all that is left of them.
    pairs = array("Q")
    for phrases, numbers in _read_blocks(path, progress):
        codes = _code(path, phrases, vocabulary)
        keys = _mix(codes)
        pairs.frombytes(keys[numbers].tobytes())
        waiting.append((keys, codes))
        if len(waiting) == _BLOCKS:
            known = _merge(path, known, waiting)
            waiting.clear()
    if not pairs:
        raise ValueError(f"{path}: has no paraphrases; install pycocoevalcap again.")
    keys, codes = known = _merge(path, known, waiting)
    numbers = np.empty(len(pairs), dtype=np.uint32)
    for start in range(0, len(pairs), _BLOCK):
        numbers[start : start + _BLOCK] = np.searchsorted(keys, pairs[start : start + _BLOCK])
    del pairs
    from_phrase, to_phrase = numbers.reshape(-1, 2).T
    by_source = np.argsort(from_phrase, kind="stable")
    counts = np.bincount(from_phrase, minlength=len(keys))
    return {
        "vocabulary": np.frombuffer(b"\n".join(vocabulary), dtype=np.uint8),
        "keys": keys,
        "codes": codes,
        "offsets": np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32),
        "targets": to_phrase[by_source],
    }


def _read_blocks(path: Path, progress: Callable[[int], object]) -> Iterator[tuple[list[bytes], IntArray]]:
    """Some paraphrases at a time: their phrases, each once, and by paraphrase the places of both among them."""
    done = 0
    try:
        with gzip.open(path) as lines:
            entries = zip(*[lines] * _LINES, strict=True)
            while block := [*islice(entries, _BLOCK)]:
                phrases: dict[bytes, int] = {}
                numbers = [phrases.setdefault(text, len(phrases)) for _, *both in block for text in both]
                yield list(phrases), np.array(numbers).reshape(-1, 2)
                done += len(block)
                progress(done)
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
        raise ValueError(f"{path}: damaged ({error}); install pycocoevalcap again.") from error


def _code(path: Path, phrases: Sequence[bytes], vocabulary: dict[bytes, int]) -> NDArray[np.uint64]:
    """The words of each phrase by number, which new ones get. Shape (phrases, 2)."""
    table = np.zeros((len(phrases), LONGEST), dtype="<u2")
    for row, phrase in enumerate(phrases):
        words = phrase.split()
        if not 0 < len(words) <= LONGEST:
            raise ValueError(f"{path}: a phrase of {len(words)} words; there are 1 to {LONGEST}. Install it again.")
        table[row, : len(words)] = [vocabulary.setdefault(word, len(vocabulary) + 1) for word in words]
        if len(vocabulary) > _MOST_WORDS:
            raise ValueError(f"{path}: more than {_MOST_WORDS:,} different words; this is not METEOR 1.5's file.")
    return table.view("<u8")


def _merge(path: Path, known: Phrases, others: Sequence[Phrases]) -> Phrases:
    """Phrases that are sorted by their hashes, and others, each once."""
    keys, codes = known
    own_keys, own_codes = map(np.concatenate, zip((keys[:0], codes[:0]), *others, strict=True))
    order = np.argsort(own_keys)
    own_keys, own_codes = own_keys[order], own_codes[order]
    is_new = np.append(True, own_keys[1:] != own_keys[:-1])[: len(order)]
    _check_same(path, own_codes[1:][~is_new[1:]], own_codes[:-1][~is_new[1:]])
    own_keys, own_codes = own_keys[is_new], own_codes[is_new]
    places = np.searchsorted(keys, own_keys)
    is_old = np.zeros(len(places), dtype=np.bool_)
    inside = places < len(keys)
    is_old[inside] = keys[places[inside]] == own_keys[inside]
    _check_same(path, codes[places[is_old]], own_codes[is_old])
    places, own_keys, own_codes = places[~is_old], own_keys[~is_old], own_codes[~is_old]
    return np.insert(keys, places, own_keys), np.insert(codes, places, own_codes, axis=0)


def _check_same(path: Path, codes: NDArray[np.uint64], others: NDArray[np.uint64]) -> None:
    if (codes != others).any():
        raise ValueError(f"{path}: two phrases have the same hash; this is not METEOR 1.5's file.")


def _mix(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A number for each code, shape (..., 2) to (...), in which all bits of it have a say."""
    mixed = codes[..., 0] * np.uint64(0x9E3779B97F4A7C15) ^ codes[..., 1] * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray(mixed ^ (mixed >> np.uint64(32)))
