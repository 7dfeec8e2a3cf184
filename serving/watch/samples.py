"""The captions of a run's validations, by style and picture, as far as their file can be read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

MAX_PICTURES = 60
"""That are shown; a run captions eight, unless it was told otherwise."""
MAX_CAPTIONS = 200
"""Of a picture, the newest."""


@dataclass
class Sample:
    """One picture in one style, through all validations."""

    example_id: str
    style: str
    image: Path | None
    """None in runs of earlier versions, which did not say."""
    references: list[str]
    captions: list[tuple[int, str]] = field(default_factory=list)
    """Optimizer step and caption, the newest first."""

    @property
    def name(self) -> str:
        """The picture without its style."""
        return self.example_id.removesuffix(f"#{self.style}")

    @property
    def key(self) -> str:
        """What a page asks for the picture by."""
        return hashlib.sha256(str(self.image).encode()).hexdigest()[:20]


def read_samples(file: Path) -> list[Sample]:
    """The captioned rows by style, then in the order of the file; lines that cannot be read are passed over.

    Args:
        file: ``samples.jsonl`` of a run; somebody may be writing its last line. No file is one without rows.
    """
    found: dict[str, Sample] = {}
    for row in _rows(file):
        name, style = row["example_id"], row["style"]
        image = row.get("image")
        if name not in found and len(found) == MAX_PICTURES:
            continue
        told = row.get("references")
        references = [text for text in told if isinstance(text, str)] if isinstance(told, list) else []
        sample = found.setdefault(name, Sample(name, style, None, references))
        sample.image = Path(image) if isinstance(image, str) else sample.image
        # A step that was trained again has its newest caption.
        others = [(step, text) for step, text in sample.captions if step != row["global_step"]]
        sample.captions = sorted([*others, (row["global_step"], row["caption"])], reverse=True)[:MAX_CAPTIONS]
    return sorted(found.values(), key=lambda sample: sample.style)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError:
        return
    kinds = {"example_id": str, "style": str, "caption": str, "global_step": int}
    for line in filter(bytes.strip, lines):
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in kinds.items()):
            yield row
