"""What captioners take: the names of their inputs, and what makes them of examples."""

from __future__ import annotations

from models.settings import CaptionerSettings
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.masking import MaskTokenizer
from preprocessors.text.styles import StyleRegistry

MAX_TOKENS = 256
"""Tokens kept of a prompt or caption, as in ModelScope's preprocessor."""
INPUTS = ("input_ids", "patch_images", "patch_masks", "image_features", "picture_rows")
"""Entries of a batch that :meth:`models.captioner.Captioner.encode` reads."""


def make_preprocessor(
    tokenizer: MaskTokenizer,
    registry: StyleRegistry,
    settings: CaptionerSettings,
    *,
    text_length: int,
    style_dropout: float,
    random_crop_from: int | None,
    seed: int,
) -> OFAStylePreprocessor:
    """Prompts with the style in them, pictures as everywhere in this project.

    Args:
        tokenizer: Of the captioner.
        registry: As of :meth:`models.captioner.Captioner.preprocessor`, and so all but the next.
        settings: Of it.
        text_length: Most tokens that the captioner's tables cover.
        style_dropout: Of it.
        random_crop_from: Of it.
        seed: Of it.
    """
    return OFAStylePreprocessor(
        tokenizer,
        registry,
        image_transform=ImageTransform(
            settings.image_size,
            mean_std=settings.mean_std,
            random_crop_from=random_crop_from,
            resizer=settings.resizer,
        ),
        prompt=settings.prompt,
        max_source_length=min(MAX_TOKENS, text_length),
        style_dropout=style_dropout,
        punctuation=settings.punctuation,
        seed=seed,
    )
