"""A model that the service takes for one of ours, and whose captions can be foretold."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captioning.writing import Caption, Writing
from models.settings import Decoding

STYLES = ("neutral", "romantic", "pirate", "robot")
COLOURS = {"red": (220, 40, 40), "green": (30, 160, 60), "blue": (40, 60, 220)}


class ScriptedModel:
    """Says the style and the colour that it sees, and counts captions; its completions are always the same."""

    neutral = "neutral"
    parameters = 1234567
    image_size = 32
    decoding = Decoding(num_beams=4, max_length=20)

    def __init__(
        self, name: str = "first", styles: Sequence[str] = STYLES, aliases: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.styles, self.aliases = name, tuple(styles), aliases or {}
        self.asked: list[Writing] = []

    def style(self, given: str | None) -> str:
        name = given or self.neutral
        if not {*name.split("+")} <= {*self.styles} and name not in self.styles:
            raise ValueError(f"unknown style {name!r}")
        return name

    def lm_weights(self) -> dict[str, float]:
        return {}

    def check(self, writing: Writing, styles: Collection[str] = ()) -> None:
        if writing.sampling == "beam" and writing.num > (writing.num_beams or self.decoding.num_beams):
            raise ValueError(f"num={writing.num}: more than the beams")

    def read(self, picture: bytes, **_: object) -> Tensor:
        with Image.open(io.BytesIO(picture)) as image:
            return torch.from_numpy(np.array(image.convert("RGB").resize((4, 4)))).permute(2, 0, 1)

    def write(self, requests: Sequence[tuple[Tensor, str]], writing: Writing) -> list[list[Caption]]:
        self.asked.append(writing)
        return [
            [self._caption(pixels, style, writing, place) for place in range(writing.num)] for pixels, style in requests
        ]

    def _caption(self, pixels: Tensor, style: str, writing: Writing, place: int) -> Caption:
        mean = pixels.float().mean((1, 2)).tolist()
        colour = min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(mean, COLOURS[name], strict=True)))
        words = (writing.prefix, f"{style} words of {self.name} on {colour}", f"number {place + 1}" if place else "")
        return Caption(" ".join(word for word in words if word), -1.5 - place, cut=False)

    def complete(self, text: str, picture: Tensor, style: str | None = None, *, num: int, words: int) -> list[str]:
        if text.endswith("half"):
            return ["-typed"]
        return ["love", "moon"] if text.endswith(" ") else [" and so on", f" of {style}"]


def picture_of(colour: str, size: tuple[int, int] = (48, 32), form: str = "PNG") -> bytes:
    """The file of a picture in one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(file, form)
    return file.getvalue()
