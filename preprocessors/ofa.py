"""The OFA style preprocessor: an example to prompt ids, pixels and target ids."""

from __future__ import annotations

import random
from collections.abc import Sequence

from torch import Tensor

from preprocessors.examples import CaptionExample
from preprocessors.interface import EncodedExample
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.captions import Punctuation, TextTokenizer, clean_caption, encode_caption
from preprocessors.text.prompts import DEFAULT_PROMPT, STYLE_SLOT
from preprocessors.text.styles import StyleRegistry


class OFAStylePreprocessor:
    """Makes model inputs from examples; what it draws depends on (seed, epoch, row) alone.

    Args:
        tokenizer: Tokenizer of the model, see :class:`TextTokenizer`.
        registry: Styles of the model.
        image_transform: Picture to pixels.
        prompt: Source text; ``{}`` is where the style goes. A prompt without it captions without style.
        max_source_length: Ids kept of a prompt, and of a target.
        max_target_length: Words kept of a caption.
        style_dropout: Probability, in training, of replacing the style by the neutral one.
        punctuation: Rule for captions that are trained on.
        seed: Seed of crops, style dropout and the choice of captions.

    Raises:
        ValueError: If ``prompt`` has more than one ``{}``.
    """

    def __init__(
        self,
        tokenizer: TextTokenizer,
        registry: StyleRegistry,
        *,
        image_transform: ImageTransform,
        prompt: str = DEFAULT_PROMPT,
        max_source_length: int = 256,
        max_target_length: int = 256,
        style_dropout: float = 0.0,
        punctuation: Punctuation = "strip",
        seed: int = 7,
    ) -> None:
        if prompt.count(STYLE_SLOT) > 1:
            raise ValueError(f"style.prompt={prompt!r}: has more than one {STYLE_SLOT!r}; the style goes in one place.")
        self.tokenizer = tokenizer
        self.registry = registry
        self.image_transform = image_transform
        self.prompt = prompt
        self.max_source_length = max_source_length
        self.max_target_length = max_target_length
        self.style_dropout = style_dropout
        self.punctuation: Punctuation = punctuation
        self.seed = seed
        self._prompt_ids: dict[str, list[int]] = {}

    def prompt_text(self, style: str | None) -> str:
        """The prompt with the style in it; None is the neutral style."""
        name = self.registry.neutral if style is None else style
        return self.prompt.replace(STYLE_SLOT, self.registry.token_of(name))

    def prompt_ids(self, style: str | None) -> list[int]:
        """Source ids for a style: BOS, the prompt, EOS.

        Args:
            style: Name or alias of a style; None is the neutral style.

        Raises:
            ValueError: If the style is unknown.
        """
        name = self.registry.neutral if style is None else self.registry.resolve(style)
        if name not in self._prompt_ids:
            text_ids = self.tokenizer.encode_text(self.prompt_text(name), max_length=self.max_source_length)
            self._prompt_ids[name] = [self.tokenizer.bos_token_id, *text_ids, self.tokenizer.eos_token_id]
        return list(self._prompt_ids[name])

    def target_ids(self, caption: str) -> list[int]:
        """Target ids of a caption: the text after :func:`clean_caption`, then EOS; EOS alone if nothing is left."""
        text = clean_caption(caption, self.max_target_length, punctuation=self.punctuation)
        token_ids = encode_caption(self.tokenizer, text, max_length=self.max_source_length)
        return [*token_ids, self.tokenizer.eos_token_id]

    def caption_of(self, example: CaptionExample, *, epoch: int, row: int) -> str:
        """The caption whose turn it is in training: each epoch goes on to the next, from a start drawn for the row."""
        start = random.Random(f"{self.seed}/{row}").randrange(len(example.captions))
        return example.captions[(start + epoch) % len(example.captions)]

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
        """Make the model inputs of one example.

        In training the captions of an example take turns, see :meth:`caption_of`, and crops and style dropout are drawn
        for (seed, epoch, row). Otherwise it is always the first caption, the whole picture and the example's own style.

        Args:
            example: The example.
            epoch: Epoch, from 0.
            row: Place of the example in its data set.
            training: Whether to draw.
            image_features: Of the picture, (F, h, w), if they are known; then the file is not opened.
            patch_image: Its pixels, uint8 (3, H, W), likewise.

        Raises:
            FileNotFoundError: If the picture is missing.
            ValueError: If the picture cannot be read or the style is unknown; both name the annotation row.
        """
        style, generator = self.registry.resolve(example.style, where=example.where), None
        caption = next(iter(example.captions), "")  # a test split may be without
        if training:
            generator = random.Random(f"{self.seed}/{epoch}/{row}")
            style = self.registry.neutral if generator.random() < self.style_dropout else style
            caption = self.caption_of(example, epoch=epoch, row=row)
        encoded = EncodedExample(
            example_id=example.example_id,
            row=row,
            style=style,
            input_ids=self.prompt_ids(style),
            patch_mask=True,
            labels=self.target_ids(caption),
        )
        if image_features is None:
            encoded["patch_image"] = self.pixels(example, generator) if patch_image is None else patch_image
        else:
            encoded["image_features"] = image_features
        return encoded

    def pixels(self, example: CaptionExample, generator: random.Random | None = None) -> Tensor:
        """The picture of an example, uint8 (3, H, W); the generator draws the crop in training.

        Raises:
            FileNotFoundError: If the picture is missing.
            ValueError: If it cannot be read; both name the annotation row.
        """
        try:
            return self.image_transform.read(example.image_path, generator)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"{example.where}: {error}") from error

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of a caption's ids: what stands before the first EOS."""
        return self.tokenizer.decode_caption(token_ids)
