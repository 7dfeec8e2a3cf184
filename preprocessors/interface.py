"""What a preprocessor makes of an example, and what everybody may ask of one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NotRequired, Protocol, TypedDict

from torch import Tensor

from preprocessors.examples import CaptionExample
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.captions import Punctuation
from preprocessors.text.styles import StyleRegistry


class EncodedExample(TypedDict):
    """One example as the model takes it.

    ``row`` is its place in its data set, ``labels`` are the target ids with EOS, ``patch_image`` is uint8 (3, H, W), or
    ``image_features`` (F, h, w) stand instead of it, computed beforehand. Examples of a batch that hold the same tensor
    share its pass through the vision network.
    ``caption_labels``, the target ids of up to K captions, stand instead of ``labels`` where the data set trains K of a
    row at once. ``pair_labels``, those of the chosen and of the rejected caption, are there if the row is a pair.
    ``masked_ids`` and ``masked_labels``, source and target of the masked-LM task, are there if it masks.
    """

    example_id: str
    row: int
    style: str
    input_ids: list[int]
    patch_image: NotRequired[Tensor]
    image_features: NotRequired[Tensor]
    patch_mask: bool
    labels: list[int]
    caption_labels: NotRequired[list[list[int]]]
    pair_labels: NotRequired[list[list[int]]]
    masked_ids: NotRequired[list[int]]
    masked_labels: NotRequired[list[int]]


class CaptionPreprocessor(Protocol):
    """Examples to what a captioner takes; what is drawn depends on (seed, epoch, row) alone."""

    registry: StyleRegistry
    prompt: str
    image_transform: ImageTransform
    max_source_length: int
    """Most token ids of a prompt or target, BOS and EOS not counted."""
    punctuation: Punctuation
    """Rule for captions that are trained on."""
    seed: int

    def prompt_text(self, style: str | None) -> str:
        """The prompt with a style in it; None is the neutral one."""

    def prompt_ids(self, style: str | None) -> list[int]:
        """Token ids that go in beside the picture."""

    def target_ids(self, caption: str) -> list[int]:
        """Token ids of a human caption, with EOS."""

    def caption_of(self, example: CaptionExample, *, epoch: int, row: int) -> str:
        """The caption of an example whose turn it is in an epoch of training."""

    def pixels(self, example: CaptionExample, generator: random.Random | None = None) -> Tensor:
        """The example's picture, uint8 (3, H, W); the generator draws a crop where one is asked for."""

    def encode(
        self,
        example: CaptionExample,
        *,
        epoch: int = 0,
        row: int = 0,
        training: bool = False,
        image_features: Tensor | None = None,
        patch_image: Tensor | None = None,
    ) -> EncodedExample:
        """One example as the collator takes it; with ``image_features`` or ``patch_image`` no picture is opened."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a caption."""
