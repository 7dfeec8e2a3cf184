"""What a split shares with the training rows: numbers on such pictures tell memory from captioning no more."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from configuration.data import DataConfig
from preprocessors.examples import CaptionExample, pictures_of, texts_of
from preprocessors.formats.table import format_of
from preprocessors.pictures.files import hash_picture, length_of_picture
from preprocessors.readers import ReadResult

logger = logging.getLogger(__name__)

AT_ONCE = 10_000
"""Pictures whose sizes are asked for together."""


class Overlap(NamedTuple):
    """What of a split is in the training rows too."""

    pictures: int
    """Different pictures of the split."""
    same_file: int
    """Those of them that are training pictures, under the same name."""
    same_content: int
    """Those that are not, and have the bytes of a training picture all the same."""
    examples: int
    """Examples of the split."""
    same_caption: int
    """Those of them with a caption that is, word for word, one of a training row."""
    first: str = ""
    """Name of the first picture that is a training picture; "" if there is none."""
    is_of_sample: bool = False
    """Whether only some training rows were held against it: those of the first shard, where shards are streamed."""

    @property
    def shared_pictures(self) -> int:
        """Pictures that are training pictures too, under whatever name."""
        return self.same_file + self.same_content

    def describe(self, split_name: str) -> str:
        """What is said of it at the start; "" if nothing is shared."""
        parts = []
        if self.shared_pictures:
            parts.append(
                f"{self.shared_pictures:,} of {self.pictures:,} pictures are training pictures ({self.same_file:,} the "
                f"same file, {self.same_content:,} the same bytes under another name; the first: {self.first})"
            )
        if self.same_caption:
            parts.append(f"{self.same_caption:,} of {self.examples:,} examples have a caption of a training row")
        if not parts:
            return ""
        advice = "; what is measured on them is memory too" if self.shared_pictures else ""
        advice += "; only the first training shard was looked at" if self.is_of_sample else ""
        return f"{split_name}: {'; '.join(parts)}{advice}"


def find_overlap(data: DataConfig, split_name: str, train: ReadResult, split: ReadResult) -> Overlap:
    """What a split shares with the training rows.

    Raises:
        ValueError: As :func:`check_overlap`.
    """
    found = count_overlap(train.examples, split.examples)._replace(is_of_sample=data.streaming)
    check_overlap(data, split_name, split.split_id, found)
    return found


def count_overlap(train: Sequence[CaptionExample], examples: Sequence[CaptionExample]) -> Overlap:
    """What of a split is among the training rows; pictures are read only where two have the same size in bytes.

    Args:
        train: The training rows.
        examples: Of the split.
    """
    own = {path: name for name, path in pictures_of(examples)}
    same = {path for _, path in pictures_of(train) if path in own}
    copies = _find_copies([path for path in own if path not in same], (path for _, path in pictures_of(train)))
    captions = {caption for _, _, texts in texts_of(examples) for caption in texts}
    known = {caption for _, _, texts in texts_of(train) for caption in texts if caption in captions}
    return Overlap(
        pictures=len(own),
        same_file=len(same),
        same_content=len(copies),
        examples=len(examples),
        same_caption=sum(not known.isdisjoint(texts) for _, _, texts in texts_of(examples)),
        first=next((name for path, name in own.items() if path in same or path in copies), ""),
    )


def check_overlap(data: DataConfig, split_name: str, split_id: str, overlap: Overlap) -> None:
    """Refuse training pictures in another part of a published split, which has none.

    Raises:
        ValueError: Counting them and naming the first.
    """
    own = format_of(data.format).own_split
    if overlap.shared_pictures and own is not None and (data.split or own) == own:
        raise ValueError(
            f"{split_id}: {overlap.describe(split_name)}. A published split shares no picture between its parts, so "
            "the annotations or the folder of pictures are not as they were published: get them again, or divide the "
            "file with data.split=hash"
        )


def tell_overlap(split_name: str, overlap: Overlap) -> None:
    """Log what a split shares with the training rows, if anything."""
    message = overlap.describe(split_name)
    if message:
        (logger.warning if overlap.shared_pictures else logger.info)("%s", message)


def _find_copies(pictures: Sequence[Path], train: Iterable[Path]) -> set[Path]:
    """The pictures whose bytes are those of a training picture with another name."""
    own = set(pictures)
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path, size in _sizes(pictures):
        by_size[size].append(path)
    alike: dict[int, list[Path]] = defaultdict(list)
    for path, size in _sizes(train):
        if size in by_size and path not in own:
            alike[size].append(path)
    copies: set[Path] = set()
    with ThreadPoolExecutor() as pool:
        for size, others in alike.items():
            hashes = {*pool.map(_hash, others)} - {""}
            mine = by_size[size]
            copies |= {path for path, digest in zip(mine, pool.map(_hash, mine), strict=True) if digest in hashes}
    return copies


def _sizes(pictures: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """Each picture that is there and not empty, and its size in bytes."""
    remaining = iter(pictures)
    with ThreadPoolExecutor() as pool:
        while part := [*islice(remaining, AT_ONCE)]:
            yield from ((path, size) for path, size in zip(part, pool.map(_size, part), strict=True) if size)


def _size(path: Path) -> int:
    try:
        return length_of_picture(path)
    except (OSError, ValueError):  # nobody has looked at the training pictures where only captions are asked for
        return 0


def _hash(path: Path) -> str:
    """Of a picture's bytes; "" if it cannot be read."""
    try:
        return hash_picture(path)
    except (OSError, ValueError):
        return ""
