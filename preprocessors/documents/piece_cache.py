"""Texts to packed ids, fast: each piece that a text falls into is looked up in the library once and remembered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from preprocessors.documents.byte_pairs import BytePairTokenizer

MOST_PIECES = 170_000
"""Pieces that are remembered, in 30 MB: those that come first, which are the most frequent ones."""
LONGEST = 32
"""Characters of a piece that is remembered: what is written without spaces, such as Chinese, never comes again."""
UNKNOWN = 8
"""Times as many pieces that were not remembered as are, after which others have become frequent."""
SLICE = 1 << 20
"""Most characters of a text that are encoded at once."""
ASCII_PIECES = re.compile(
    r"'(?:[sdmt]|ll|ve|re)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII
).findall
"""What GPT-2's pattern cuts out of a text in ASCII, where letters, numbers and spaces are these."""
RUNS = re.compile(r"(?:[ \t-\r]*[!-~]+(?!\S))+|\s*\S+|\s+").findall
"""What :data:`ASCII_PIECES` may cut further, and single words with whatever else. Each is whole pieces of the same
pattern: none goes on behind a space that follows something else."""
UNLIKE_SPACES = re.compile(r"[\x1c-\x1f]").search
"""What Python takes for spaces, and Unicode does not."""
SAFE_CUT = re.compile(r"(?<=[A-Za-z])(?= [A-Za-z])").search
"""Where every byte-level tokenizer begins a new piece."""


class PackedEncoder:
    """Makes the ids of texts, those of :meth:`BytePairTokenizer.encode_batch`, as they stand in a file.

    A BPE gives a piece of text the same ids wherever it stands, and text repeats its pieces: a tokenizer with GPT-2's
    rule for pieces (``splits_as_gpt2``) needs the library only for those that are not in a table yet.

    Args:
        tokenizer: Of any byte-level BPE.
        dtype: Little-endian, ``<u2`` or ``<u4``.
    """

    def __init__(self, tokenizer: BytePairTokenizer, dtype: str) -> None:
        self._tokenizer, self._dtype = tokenizer, np.dtype(dtype)
        self._known = _Pieces(tokenizer, self._dtype)

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """Ids of each text, packed; long ones in slices, whose memory would be a hundred times theirs."""
        short = iter(self._encode([text for text in texts if len(text) <= SLICE]))
        return [next(short) if len(text) <= SLICE else self._encode_long(text) for text in texts]

    def _encode_long(self, text: str) -> bytes:
        return b"".join(self._encode([part])[0] for part in _slices(text))

    def _encode(self, texts: list[str]) -> list[bytes]:
        if self._tokenizer.splits_as_gpt2:
            known = self._known.__getitem__
            return [b"".join(map(known, _pieces(text))) for text in texts]
        return [np.array(ids, self._dtype).tobytes() for ids in self._tokenizer.encode_batch(texts)]


class _Pieces(dict[str, bytes]):
    """Packed ids by piece of text; those that are not remembered are encoded."""

    def __init__(self, tokenizer: BytePairTokenizer, dtype: np.dtype[Any]) -> None:
        super().__init__()
        self._tokenizer, self._dtype = tokenizer, dtype
        self._unknown = 0

    def __missing__(self, piece: str) -> bytes:
        packed = np.array(self._tokenizer.encode_piece(piece), self._dtype).tobytes()
        if len(piece) > LONGEST:
            return packed
        if len(self) < MOST_PIECES:
            self[piece] = packed
            return packed
        self._unknown += 1
        if self._unknown > UNKNOWN * MOST_PIECES:
            self._unknown = 0
            self.clear()
        return packed


def _pieces(text: str) -> list[str]:
    if text.isascii():
        return ASCII_PIECES(text)
    if UNLIKE_SPACES(text):
        return [text]
    pieces: list[str] = []
    for run in RUNS(text):
        pieces += ASCII_PIECES(run) if run.isascii() else (run,)
    return pieces


def _slices(text: str) -> Iterator[str]:
    """A text in parts whose ids are those of the whole."""
    start = 0
    while len(text) - start > SLICE and (cut := SAFE_CUT(text, start + SLICE)):
        yield text[start : cut.start()]
        start = cut.start()
    yield text[start:]
