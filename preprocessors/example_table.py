"""Examples in columns: a million take little more than their text, and each is made when it is asked for."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from preprocessors.examples import CaptionExample, ExampleColumns, make_example_id

Numbers = NDArray[np.integer[Any]]

# File names may hold bytes that are no text, which Python reads as lone surrogates.
ENCODING = ("utf-8", "surrogatepass")
CHUNK = 4096
"""Examples whose numbers are turned into Python's at once when all are gone through."""


class Texts:
    """Texts in one piece of UTF-8; the same piece serves any selection and order of them."""

    def __init__(self, blob: bytes, starts: Numbers, lengths: Numbers) -> None:
        self.blob, self.starts, self.lengths = blob, starts, lengths

    def __len__(self) -> int:
        """Number of texts."""
        return len(self.starts)

    def __getitem__(self, number: int) -> str:
        """One text."""
        start = int(self.starts[number])
        return self.blob[start : start + int(self.lengths[number])].decode(*ENCODING)

    def take(self, numbers: Numbers) -> Texts:
        """Some of the texts, in this order."""
        return Texts(self.blob, self.starts[numbers], self.lengths[numbers])

    def compact(self) -> Texts:
        """The same texts without what others have left between them."""
        joined = _Joined()
        for number in range(len(self)):
            start = int(self.starts[number])
            joined.append(self.blob[start : start + int(self.lengths[number])])
        return joined.freeze()


class _Joined:
    """Texts while they come in."""

    def __init__(self) -> None:
        self.blob, self.lengths = bytearray(), array("I")

    def append(self, text: bytes) -> None:
        self.blob += text
        self.lengths.append(len(text))

    def freeze(self) -> Texts:
        lengths = np.frombuffer(self.lengths, np.uint32) if self.lengths else np.empty(0, np.uint32)
        starts: Numbers = np.zeros(len(lengths), np.uint32 if len(self.blob) < 2**32 else np.uint64)
        np.cumsum(lengths[:-1], out=starts[1:], dtype=starts.dtype)
        blob = bytes(self.blob)
        self.blob = bytearray()  # which would stay beside its copy
        return Texts(blob, starts, lengths)


class _Columns(NamedTuple):
    """What each example is: numbers of its picture and style, the place of its captions, where it was read."""

    pictures: Numbers
    styles: Numbers
    first_captions: Numbers
    num_captions: Numbers
    sources: Numbers
    rows: Numbers

    def take(self, places: Numbers) -> _Columns:
        return _Columns(*(column[places] for column in self))


class ExampleTable(ExampleColumns):
    """Examples of one split; made by :class:`TableBuilder`.

    Equal to every sequence with equal examples. Goes to worker processes as a few large buffers, and a process that is
    forked shares them: nothing in them counts references.
    """

    __hash__ = None  # type: ignore[assignment]  # as a list

    def __init__(
        self, root: Path, names: Texts, styles: list[str], sources: list[str], captions: Texts, of: _Columns
    ) -> None:
        self._root, self._names, self._styles = root, names, styles
        self._sources, self._captions, self._of = sources, captions, of

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._of.rows)

    @overload
    def __getitem__(self, index: int) -> CaptionExample: ...
    @overload
    def __getitem__(self, index: slice) -> ExampleTable: ...
    def __getitem__(self, index: int | slice) -> CaptionExample | ExampleTable:
        """An example, or a table of some."""
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        picture, style, first, count, source, row = (int(column[index]) for column in self._of)
        return self._make(picture, self._styles[style], self._texts(first, count), self._sources[source], row)

    def __iter__(self) -> Iterator[CaptionExample]:
        """All examples in order, none of them kept."""
        last, path = -1, Path()
        for picture, style, first, count, source, row in self._numbers():
            if picture != last:
                last, path = picture, self._path_of(picture)
            name = self._styles[style]
            example_id = make_example_id(self._names[picture], name)
            yield CaptionExample(example_id, path, name, self._texts(first, count), self._sources[source], row)

    def __eq__(self, other: object) -> bool:
        """Whether another sequence has equal examples."""
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(own == its for own, its in zip(self, other, strict=True))

    def take(self, places: Numbers | Sequence[int]) -> ExampleTable:
        """Some of the examples, in this order; their texts stay shared with this table."""
        columns = self._of.take(np.asarray(places, np.int64))
        return ExampleTable(self._root, self._names, self._styles, self._sources, self._captions, columns)

    def texts(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Id, style and captions of each example."""
        for picture, style, first, count, _, _ in self._numbers():
            name = self._styles[style]
            yield make_example_id(self._names[picture], name), name, self._texts(first, count)

    def styles(self) -> list[str]:
        """The different styles in the order of their first examples."""
        return [self._styles[number] for number in _firsts(self._of.styles)[0]]

    def picture_numbers(self) -> Sequence[int]:
        """For each example a number that it shares with the examples of the same picture."""
        numbers: list[int] = self._of.pictures.tolist()
        return numbers

    def pictures(self) -> Iterator[tuple[str, Path]]:
        """Name and path of each different picture, in the order of the first examples."""
        for number in _firsts(self._of.pictures)[0]:
            yield self._names[number], self._path_of(number)

    def with_styles(self, rename: Callable[[str, str], str]) -> ExampleTable:
        """The examples with other names of styles; where two become one, so do their examples.

        Args:
            rename: From a style and the annotation row of its first example to the new name.
        """
        renamed = list(self._styles)
        for number, place in zip(*_firsts(self._of.styles), strict=True):
            renamed[number] = rename(self._styles[number], self[place].where)
        different = list(dict.fromkeys(renamed))
        places = {style: place for place, style in enumerate(different)}
        numbers = np.array([places[style] for style in renamed], np.uint32)
        columns, captions = self._of._replace(styles=numbers[self._of.styles]), self._captions
        if len(different) < len(renamed):
            columns, captions = _merge(columns, captions)
        return ExampleTable(self._root, self._names, different, self._sources, captions, columns)

    def num_captions(self) -> NDArray[np.int64]:
        """Captions of each example."""
        return self._of.num_captions.astype(np.int64)

    def _numbers(self) -> Iterator[tuple[int, ...]]:
        for start in range(0, len(self), CHUNK):
            columns = (column[start : start + CHUNK].tolist() for column in self._of)
            yield from zip(*columns, strict=True)

    def _texts(self, first: int, count: int) -> tuple[str, ...]:
        return tuple([self._captions[number] for number in range(first, first + count)])

    def _path_of(self, picture: int) -> Path:
        return self._root / self._names[picture]

    def _make(self, picture: int, style: str, captions: tuple[str, ...], source: str, row: int) -> CaptionExample:
        example_id = make_example_id(self._names[picture], style)
        return CaptionExample(example_id, self._path_of(picture), style, captions, source, row)


class TableBuilder:
    """Examples on their way into a table, in the order of the annotation file.

    Args:
        root: Folder of the pictures.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names, self._captions = _Joined(), _Joined()
        self._digests = bytearray()
        self._styles: dict[str, int] = {}
        self._sources: dict[str, int] = {}
        self._style_of, self._num_captions, self._source_of, self._rows = (array("I") for _ in range(4))

    def __len__(self) -> int:
        """Number of examples so far, those that will be merged counted one by one."""
        return len(self._rows)

    def add(self, image: str, style: str, captions: Sequence[str], source: str = "", row: int = 0) -> None:
        """Add an example; one with a picture and style that were there before gives its captions to that one.

        Args:
            image: The picture as the annotation file names it.
            style: Name of the style.
            captions: In this style.
            source: The annotation file.
            row: In it, from 1.
        """
        name = image.encode(*ENCODING)
        # A dictionary of all names would hold them twice and more; 16 bytes each tell them apart at the end.
        self._digests += hashlib.blake2b(name, digest_size=16).digest()
        self._names.append(name)
        for caption in captions:
            self._captions.append(caption.encode(*ENCODING))
        self._style_of.append(self._styles.setdefault(style, len(self._styles)))
        self._num_captions.append(len(captions))
        self._source_of.append(self._sources.setdefault(source, len(self._sources)))
        self._rows.append(row)

    def build(self) -> ExampleTable:
        """The table, once; the builder is of no use afterwards."""
        pictures, places = _number_pictures(bytes(self._digests))
        names = self._names.freeze()
        if len(places) < len(names):
            names = names.take(places).compact()
        numbers = (self._style_of, self._num_captions, self._source_of, self._rows)
        styles, counts, sources, rows = (np.array(column, np.uint32) for column in numbers)
        firsts = np.cumsum(counts, dtype=np.int64) - counts
        columns = _Columns(pictures, styles, firsts, counts, sources, rows)
        columns, captions = _merge(columns, self._captions.freeze())
        return ExampleTable(self._root, names, list(self._styles), list(self._sources), captions, columns)


def _number_pictures(digests: bytes) -> tuple[Numbers, Numbers]:
    """For each example the number of its picture, and for each picture the place of its first example."""
    high, low = np.frombuffer(digests, np.uint64).reshape(-1, 2).T
    order = np.lexsort((low, high))
    starts = np.ones(len(order), bool)
    starts[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    groups = np.empty(len(order), np.int64)
    groups[order] = np.cumsum(starts) - 1
    firsts = order[starts]  # the sort is stable, so each is the earliest of its group
    numbers = np.empty(len(firsts), np.uint32)
    by_place = np.argsort(firsts)
    numbers[by_place] = np.arange(len(firsts), dtype=np.uint32)
    return numbers[groups], firsts[by_place]


def _merge(of: _Columns, captions: Texts) -> tuple[_Columns, Texts]:
    """Join examples with one picture and style; places of captions stay in the order of the examples."""
    keys = of.pictures.astype(np.int64) * (int(of.styles.max(initial=0)) + 1) + of.styles
    _, firsts, groups = np.unique(keys, return_index=True, return_inverse=True)
    if len(firsts) == len(keys):
        return of, captions
    by_place = np.argsort(firsts)
    ranks = np.empty(len(firsts), np.int64)
    ranks[by_place] = np.arange(len(firsts))
    example_of = ranks[groups]
    rows = np.argsort(example_of, kind="stable")
    counts = of.num_captions[rows].astype(np.int64)
    ends = np.cumsum(counts)
    numbers = np.repeat(of.first_captions[rows] - (ends - counts), counts) + np.arange(ends[-1])
    totals = np.bincount(example_of, weights=of.num_captions, minlength=len(firsts)).astype(np.int64)
    merged = of.take(firsts[by_place])._replace(first_captions=np.cumsum(totals) - totals, num_captions=totals)
    return merged, captions.take(numbers)


def _firsts(numbers: Numbers) -> tuple[list[int], list[int]]:
    """The different numbers in the order of their first places, and these places."""
    different, places = np.unique(numbers, return_index=True)
    order = np.argsort(places)
    return different[order].tolist(), places[order].tolist()
