"""A captioner to be looked at, with pictures, styles and captions for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from captioning.styled import StyledCaptioner, join_styles
from models.captioner import Captioner, Encoded, NewModel
from models.settings import CaptionerSettings, Decoding
from preprocessors.collator import IGNORE_INDEX, CaptionCollator, with_normalised
from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.interface import CaptionPreprocessor
from preprocessors.text.prompts import DEFAULT_PROMPT, STYLE_SLOT
from preprocessors.text.styles import StyleRegistry

STYLES = ("calm", "wildly romantic")
"""Of a new model; their prompts have different lengths."""
CAPTIONS = (
    "a dog runs along the beach",
    "two children play with a red ball",
    "a man on a horse",
    "the cat sleeps beside the window and dreams of birds",
)
SMALLEST = 32
"""Least pixels a side that pictures have here."""
NOISE = 0.2
"""Deviation of what is added to the weights of a new model, since those of some say the same of everything."""


@dataclass
class Subject:
    """A captioner under test.

    Attributes:
        make: Makes it once more, as it was at the beginning.
        captioner: In evaluation mode.
        registry: Its styles.
        settings: How it is used here.
        pixels: Of two pictures, uint8 (3, H, W).
        is_new: Whether ``make`` makes new models, and opens none.
    """

    make: Callable[[], Captioner]
    captioner: Captioner
    registry: StyleRegistry
    settings: CaptionerSettings
    pixels: Sequence[Tensor]
    is_new: bool

    @property
    def preprocessor(self) -> CaptionPreprocessor:
        """What makes inputs."""
        return self.captioner.preprocessor(self.registry, self.settings)

    @property
    def styles(self) -> tuple[str, str]:
        """Two of its styles."""
        return self.registry.names[0], self.registry.names[1]

    def batch(self, rows: Sequence[tuple[int, str]]) -> dict[str, Tensor]:
        """A batch as trainers have it, of pictures by number, each in a style."""
        preprocessor = self.preprocessor
        examples = [CaptionExample(make_example_id(f"{n}.jpg", s), Path(f"{n}.jpg"), s, CAPTIONS[:1]) for n, s in rows]
        encoded = [
            preprocessor.encode(example, row=row, patch_image=self.pixels[picture])
            for row, (example, (picture, _)) in enumerate(zip(examples, rows, strict=True))
        ]
        collated = CaptionCollator(self.captioner.tokenizer.pad_token_id)(encoded)
        there = {name: tensor.to(self.captioner.device) for name, tensor in collated.items()}
        return with_normalised(there, preprocessor.image_transform)

    def encode(self, *rows: tuple[int, str]) -> Encoded:
        """What captions are made from, of pictures by number in styles; of both in one style each if none is named."""
        first, second = self.styles
        with torch.no_grad():
            return self.captioner.encode(self.batch(rows or [(0, first), (1, second)]))

    def captions(self, per_picture: int = 2) -> Tensor:
        """Captions of different lengths for two pictures, int64 (2 * per_picture, T)."""
        rows = [torch.tensor(self.preprocessor.target_ids(CAPTIONS[n % len(CAPTIONS)])) for n in range(2 * per_picture)]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=IGNORE_INDEX)
        return padded.to(self.captioner.device)

    def uniforms(self, pictures: int, samples: int, length: int, seed: int = 0) -> Tensor:
        """Random numbers in [0, 1), float64."""
        drawn = torch.rand(
            pictures, samples, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        return drawn.to(self.captioner.device)


def subject_of(kind: type[Captioner], folder: Path | None = None) -> Subject:
    """A captioner of a class: the one in a folder, or a new one.

    Raises:
        ValueError: If no new one can be made; from the class itself.
    """
    if folder is None:
        wanted = new_model()
        registry = StyleRegistry(STYLES)
        captioner = _new(kind, wanted)
        return _subject(lambda: _new(kind, wanted), captioner, registry, None, is_new=True)
    name = f"{kind.__module__}:{kind.__qualname__}"
    styled = StyledCaptioner.load_from_dir(folder, registry=StyleRegistry(STYLES), kind=name)
    return _subject(lambda: kind.open(folder), styled.captioner, styled.registry, styled.settings, is_new=False)


def new_model() -> NewModel:
    """What a new captioner is asked to be here."""
    prompts = [DEFAULT_PROMPT.replace(STYLE_SLOT, style) for style in (*STYLES, "neutral")]
    return NewModel("nano", {}, CAPTIONS, prompts, bpe_size=300, num_codes=0, seed=1)


def _new(kind: type[Captioner], wanted: NewModel) -> Captioner:
    captioner = kind.new(wanted)
    shake(captioner, seed=2)
    return captioner


@torch.no_grad()
def shake(captioner: Captioner, seed: int) -> None:
    """Add random numbers to all weights, in place."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in captioner.module.parameters():
        noise = torch.randn(parameter.shape, generator=generator) * NOISE
        parameter += noise.to(parameter.device, parameter.dtype)


def _subject(
    make: Callable[[], Captioner],
    captioner: Captioner,
    registry: StyleRegistry,
    settings: CaptionerSettings | None,
    *,
    is_new: bool,
) -> Subject:
    join_styles(captioner, registry)
    multiple = captioner.limits().image_multiple
    size = settings.image_size if settings is not None else -(-SMALLEST // multiple) * multiple
    usual = settings or CaptionerSettings(
        image_size=size,
        max_image_size=size,
        mean_std=captioner.vision().mean_std,
        prompt=DEFAULT_PROMPT,
        neutral_prompt=DEFAULT_PROMPT.replace(STYLE_SLOT, registry.token_of(registry.neutral)),
        trained_styles=registry.names,
        decoding=Decoding(num_beams=3, max_length=8, no_repeat_ngram_size=0),
    )
    generator = torch.Generator().manual_seed(3)
    pixels = [torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8) for _ in range(2)]
    return Subject(make, captioner, registry, usual, pixels, is_new)


def in_scratch(work: Callable[[Path], None]) -> None:
    """Do something in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        work(Path(folder))


def weights_of(captioner: Captioner) -> Mapping[str, Tensor]:
    """All weights and buffers by name."""
    return captioner.module.state_dict()
