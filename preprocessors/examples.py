"""What every reader gives and every later step takes: one picture, one style, its captions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def rows_by_picture(examples: Sequence[CaptionExample]) -> list[list[int]]:
    """Places of the examples, those of one picture together, in the order of first appearance."""
    rows: dict[Path, list[int]] = {}
    for row, example in enumerate(examples):
        rows.setdefault(example.image_path, []).append(row)
    return list(rows.values())
