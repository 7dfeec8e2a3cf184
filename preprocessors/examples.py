"""What every reader gives and every later step takes: one picture, one style, its captions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple


def make_example_id(image_name: str, style: str) -> str:
    """Key of one (image, style) pair.

    One image has several styles, so a file name alone is no key: results stored under it overwrite one another.

    Args:
        image_name: The picture as the annotation file names it, e.g. ``1000268201_693b08cb0e.jpg``.
        style: Name of the style.

    Returns:
        ``<image_name>#<style>``.
    """
    return f"{image_name}#{style}"


@dataclass(frozen=True)
class CaptionExample:
    """One picture in one style, with all its human captions in that style.

    ``source`` and ``row`` (from 1) say where it was read, for error messages; two examples that differ only in them
    are equal.
    """

    example_id: str
    image_path: Path
    style: str
    captions: tuple[str, ...]
    source: str = field(default="", compare=False)
    row: int = field(default=0, compare=False)

    @property
    def image_name(self) -> str:
        """The picture as the annotation file names it: the ``example_id`` without its style."""
        return self.example_id.removesuffix(make_example_id("", self.style))

    @property
    def where(self) -> str:
        """The annotation row this was read from, or the example's key if it came from no file."""
        return f"{self.source}, row {self.row}" if self.source else self.example_id


class ExampleColumns(Sequence[CaptionExample]):
    """Examples that are not kept one by one, and say about all of them what would be long to ask of each."""

    @abstractmethod
    def take(self, places: Sequence[int]) -> Sequence[CaptionExample]:
        """Some of the examples, in this order."""

    @abstractmethod
    def texts(self) -> Iterator[tuple[str, str, tuple[str, ...]]]:
        """Id, style and captions of each example."""

    @abstractmethod
    def styles(self) -> list[str]:
        """The different styles in the order of their first examples."""

    @abstractmethod
    def pictures(self) -> Iterator[tuple[str, Path]]:
        """Name and path of each different picture, in the order of the first examples."""

    @abstractmethod
    def picture_numbers(self) -> Sequence[int]:
        """For each example a number that it shares with the examples of the same picture."""

    @abstractmethod
    def with_styles(self, rename: Callable[[str, str], str]) -> Sequence[CaptionExample]:
        """The examples with other names of styles, given a style and where it first stands; may merge some."""


class DroppedRow(NamedTuple):
    """A row that was left out by policy: where it stood, a reason that can be counted, and the value at fault."""

    source: str
    row: int
    reason: str
    detail: str = ""


def merge_examples(examples: Iterable[CaptionExample]) -> list[CaptionExample]:
    """Join examples with the same ``example_id`` into one that carries the captions of all.

    Args:
        examples: Examples in any order; those with the same id must show the same picture.

    Returns:
        One example per id, in the order of first appearance; ``source`` and ``row`` are those of the first.
    """
    merged: dict[str, CaptionExample] = {}
    for example in examples:
        first = merged.get(example.example_id)
        captions = example.captions if first is None else first.captions + example.captions
        merged[example.example_id] = replace(first or example, captions=captions)
    return list(merged.values())


def texts_of(examples: Iterable[CaptionExample]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Id, style and captions of each example."""
    if isinstance(examples, ExampleColumns):
        return examples.texts()
    return ((example.example_id, example.style, example.captions) for example in examples)


def pictures_of(examples: Iterable[CaptionExample]) -> Iterator[tuple[str, Path]]:
    """Name and path of each different picture, in the order of first appearance."""
    if isinstance(examples, ExampleColumns):
        return examples.pictures()
    return iter({example.image_path: (example.image_name, example.image_path) for example in examples}.values())


def keep_examples(
    examples: Sequence[CaptionExample], is_kept: Callable[[CaptionExample], bool]
) -> Sequence[CaptionExample]:
    """The examples that are kept, in order."""
    places = [place for place, example in enumerate(examples) if is_kept(example)]
    if isinstance(examples, ExampleColumns):
        return examples.take(places)
    return [examples[place] for place in places]


def rows_by_picture(examples: Sequence[CaptionExample]) -> list[list[int]]:
    """Places of the examples, those of one picture together, in the order of first appearance."""
    pictures: Iterable[int | Path] = (
        examples.picture_numbers()
        if isinstance(examples, ExampleColumns)
        else (example.image_path for example in examples)
    )
    rows: dict[int | Path, list[int]] = {}
    for row, picture in enumerate(pictures):
        rows.setdefault(picture, []).append(row)
    return list(rows.values())
