"""A model with the interface of ``CaptionModel`` that says what it is asked, at once or when it is let."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import torch
from PIL import Image

from captioning.writing import Caption, Writing
from models.settings import Decoding
from preprocessors.pictures.images import decode_picture


class FakeModel:
    folder = Path("fake")
    styles = ("neutral", "pirate", "romantic", "poison")
    neutral, aliases, parameters, image_size = "neutral", {"buccaneer": "pirate", "unlearnt": "robot"}, 7, 8
    decoding = Decoding()

    def __init__(self, name="fake"):
        self.name = name
        self.batches: list[tuple[Writing, list[str]]] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.has_begun = threading.Event()

    def style(self, given):
        name = self.aliases.get(given, given) or self.neutral
        if name not in self.styles:
            raise ValueError(f"unknown style {given!r}; nearest: pirate")
        return name

    def lm_weights(self):
        return {}

    def check(self, writing, styles=()):
        writing.check(self.decoding, 1024)

    def read(self, picture, *, max_pixels=None):
        shown = decode_picture(io.BytesIO(picture), max_pixels=max_pixels).resize((8, 8), Image.Resampling.BOX)
        return torch.frombuffer(bytearray(shown.tobytes()), dtype=torch.uint8).view(8, 8, 3).permute(2, 0, 1)

    def write(self, requests, writing):
        self.has_begun.set()
        assert self.may_go.wait(20)
        styles = [style for _, style in requests]
        self.batches.append((writing, styles))
        if "poison" in styles:
            raise ValueError("this style cannot be written")
        return [
            [Caption(f"{writing.prefix}{style} {number}", -1.0 - number, False) for number in range(writing.num)]
            for style in styles
        ]

    def complete(self, text, picture, style=None, *, num=5, words=3):
        return [f" {style} {number}" for number in range(num)]


class FakeTexts:
    """In place of a model of text alone: says what it is asked, when it is let."""

    def __init__(self, styles):
        self.styles, self.batches = styles, []
        self.may_go, self.has_begun = threading.Event(), threading.Event()
        self.may_go.set()

    def check(self, style):
        if style not in self.styles:
            raise ValueError(f"unknown style {style!r}")

    def complete(self, asked):
        self.has_begun.set()
        assert self.may_go.wait(20)
        self.batches.append([one.text for one in asked])
        return [[f"{one.text} {one.style} {one.num}"] for one in asked]
