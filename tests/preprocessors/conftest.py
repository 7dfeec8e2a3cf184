"""Small stand-ins: a tokenizer of whole words, and a folder of tiny pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.styles import StyleRegistry


class WordTokenizer:
    """Gives each new word the next id from 10, so that ids can be turned back into words."""

    bos_token_id, pad_token_id, eos_token_id = 0, 1, 2

    def __init__(self) -> None:
        self.words: list[str] = []

    def encode_text(self, text: str, max_length: int | None = None) -> list[int]:
        words = text.split()
        self.words += [word for word in dict.fromkeys(words) if word not in self.words]
        return [10 + self.words.index(word) for word in words][:max_length]

    def text_of(self, token_ids: list[int]) -> str:
        return " ".join(self.words[number - 10] for number in token_ids if number >= 10)


@pytest.fixture
def word_tokenizer() -> WordTokenizer:
    return WordTokenizer()


@pytest.fixture
def registry() -> StyleRegistry:
    return StyleRegistry(["Romantic", "Humorous"])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folder with a.png and b.png (13 x 7, every pixel different) and c.png, cut short in the middle."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        image = Image.new("RGB", (13, 7))
        image.putdata([(x * 19, y * 36, number * 80) for y in range(7) for x in range(13)])
        image.save(folder / name)
    whole = (folder / "c.png").read_bytes()
    (folder / "c.png").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture
def example(pictures: Path) -> CaptionExample:
    captions = ("a red sky", "the sky blushes", "love, at dusk!")
    return CaptionExample(
        make_example_id("a.png", "romantic"), pictures / "a.png", "romantic", captions, "train.jsonl", 4
    )


@pytest.fixture
def preprocessor(word_tokenizer: WordTokenizer, registry: StyleRegistry) -> OFAStylePreprocessor:
    return OFAStylePreprocessor(word_tokenizer, registry, image_transform=ImageTransform(4, random_crop_from=9))
