"""The captions of one file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class CaptionTable:
    """The captions of one file by example_id; ids are strings, whatever they were in the file."""

    path: Path
    captions: dict[str, list[str]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    """Image by example_id, where the file says it."""
    styles: dict[str, str] = field(default_factory=dict)
    """Style by example_id, where the file says it."""
    files: dict[str, str] = field(default_factory=dict)
    """Name of the picture's file by example_id, where the file says it."""
    splits: dict[str, str] = field(default_factory=dict)
    """Split by example_id, where the file says it."""
    domains: dict[str, str] = field(default_factory=dict)
    """Part of the data set by example_id, where the file says it."""

    @property
    def of_training(self) -> dict[str, list[str]]:
        """The captions of the training split, or all where the file carries no splits."""
        return {key: texts for key, texts in self.captions.items() if self.splits.get(key, "train") == "train"}

    def picture(self, example_id: str) -> str:
        """The picture of an example: what the file says, or else its id."""
        return self.images.get(example_id, example_id)
