"""The captioner of a run: opened from a folder or the hub, or new; with its styles and settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from captioning.styled import StyledCaptioner, join_styles, open_styled
from captioning.writer import CaptionWriter
from configuration.groups import DecodeConfig, ImageConfig, RunConfig, StyleConfig
from models import new_captioner
from models.captioner import NewModel, VisionInfo
from models.settings import CaptionerSettings, Decoding
from pipeline.data import styles_of
from preprocessors.examples import CaptionExample
from preprocessors.pictures.feature_cache import UNCROPPED_VIEWS
from preprocessors.pictures.images import MEAN_STD, Resizer
from preprocessors.text.corpora import StyledText
from preprocessors.text.masking import masked_prompt
from preprocessors.text.prompts import STYLE_SLOT
from preprocessors.text.styles import StyleRegistry

logger = logging.getLogger(__name__)


def new_registry(
    style: StyleConfig, examples: Sequence[CaptionExample], corpus: Sequence[StyledText] = ()
) -> StyleRegistry:
    """Registry over the styles of the training examples and of a text-only corpus."""
    return StyleRegistry(styles_of([*examples, *corpus]), inject=style.inject, neutral=style.neutral)


def set_up_captioner(
    config: RunConfig, train_examples: Sequence[CaptionExample], corpus: Sequence[StyledText] = ()
) -> StyledCaptioner:
    """The captioner that a training run starts from, with the settings it came with.

    Args:
        config: ``model.name`` or ``model.preset``, and the style settings.
        train_examples: Give the styles and, for a new model, the BPE.
        corpus: Texts without pictures, which add to both.

    Raises:
        ValueError: If the model does not know all styles of the data, or cannot be made as it is asked for.
    """
    registry = new_registry(config.style, train_examples, corpus)
    if config.model.name is None:
        return _new_captioner(config, registry, train_examples, corpus)
    styled = open_styled(config.model.name, revision=config.model.revision, registry=registry)
    registry.check_known_to(styled.registry, config.model.name)
    return styled


def _new_captioner(
    config: RunConfig, registry: StyleRegistry, train_examples: Sequence[CaptionExample], corpus: Sequence[StyledText]
) -> StyledCaptioner:
    captions = [caption for example in train_examples for caption in example.captions]
    prompts = [config.style.prompt.replace(STYLE_SLOT, registry.token_of(name)) for name in registry.names]
    if config.masked_lm.weight:
        prompts += [masked_prompt("", registry.token_of(name)) for name in registry.names]
    captioner = new_captioner(
        NewModel(
            preset=config.model.preset or "",
            overrides=config.model.overrides,
            captions=[*captions, *(text.body for text in corpus)],
            prompts=prompts,
            bpe_size=config.model.bpe_size,
            num_codes=len(registry) if registry.inject == "code" else 0,
            seed=config.train.seed,
            vision=config.model.vision,
            vision_is_named=config.model.vision_weights == "named",
        )
    )
    join_styles(captioner, registry)
    millions = sum(parameter.numel() for parameter in captioner.module.parameters()) / 1e6
    vocabulary = len(captioner.tokenizer)
    logger.info("new %s model: %.2f M parameters, vocabulary of %d", config.model.preset, millions, vocabulary)
    return StyledCaptioner(captioner, registry)


def make_settings(
    image: ImageConfig,
    style: StyleConfig,
    decode: DecodeConfig,
    registry: StyleRegistry,
    styles: Sequence[str],
    vision: VisionInfo,
    before: CaptionerSettings | None = None,
    *,
    is_new: bool = False,
) -> CaptionerSettings:
    """What the captioner of a run must be used with.

    Args:
        image: Its pictures.
        style: Its prompt.
        decode: How it captions.
        registry: Of the model.
        styles: What the run trains on.
        vision: What its vision network was made for; holds where neither the configuration nor the model it starts from
            says otherwise.
        before: Of the model that the run starts from, whose trained styles stay known.
        is_new: Nobody has trained it yet, so that it may see pictures as they come fastest.
    """
    trained = {registry.resolve(name) for name in (*styles, *(() if before is None else before.trained_styles))}
    if style.dropout:
        trained.add(registry.neutral)
    size, mean_std = vision.image_size, vision.mean_std
    resizer: Resizer = "torch" if is_new else "pillow"
    if before is not None:
        size, mean_std, resizer = before.image_size, before.mean_std, before.resizer
    size = image.size or size
    return CaptionerSettings(
        image_size=size,
        max_image_size=image.max_size or size,
        mean_std=mean_std if image.mean_std is None else MEAN_STD[image.mean_std],
        prompt=style.prompt,
        neutral_prompt=style.prompt.replace(STYLE_SLOT, registry.token_of(registry.neutral)),
        trained_styles=tuple(name for name in registry.names if name in trained),
        decoding=make_decoding(decode),
        resizer=image.resizer or resizer,
    )


def make_decoding(decode: DecodeConfig) -> Decoding:
    """How a run generates captions."""
    return Decoding(**decode.model_dump())


def make_writer(config: RunConfig, styled: StyledCaptioner) -> CaptionWriter:
    """What captions in a run: the model's own picture size and prompt, the run's decoding and training draws.

    Raises:
        ValueError: If captions are to be guided away from a neutral style that the model does not learn.
    """
    neutral, settings = styled.registry.neutral, styled.settings
    if config.decode.guidance != 1.0 and settings is not None and neutral not in settings.trained_styles:
        raise ValueError(
            f"decode.guidance={config.decode.guidance:g}: compares with the neutral style {neutral!r}, which the model "
            "is never trained on; set style.dropout above 0 in training, style.neutral to a trained style, or this to 1"
        )
    crops = config.image.random_crop or config.image.feature_views > UNCROPPED_VIEWS
    preprocessor = styled.preprocessor(
        style_dropout=config.style.dropout,
        random_crop_from=config.image.max_size if crops else None,
        seed=config.train.seed,
    )
    return CaptionWriter(styled.captioner, preprocessor, make_decoding(config.decode))


def check_fits(decode: DecodeConfig, writer: CaptionWriter) -> None:
    """Refuse pictures, prompts and decoding lengths that the captioner's tables do not cover.

    Raises:
        ValueError: Naming the setting and the most it can be.
    """
    limits, preprocessor = writer.captioner.limits(), writer.preprocessor
    size = preprocessor.image_transform.height
    if size % limits.image_multiple or size > limits.image_size:
        raise ValueError(
            f"image.size={size}: the model takes multiples of {limits.image_multiple} up to {limits.image_size} pixels"
        )
    if decode.max_length > limits.text_length:
        raise ValueError(f"decode.max_length={decode.max_length}: the model has positions for {limits.text_length}")
    for style in preprocessor.registry.names:
        tokens = len(writer.captioner.tokenizer.encode_text(preprocessor.prompt_text(style)))
        if tokens > limits.text_length:
            raise ValueError(
                f"style.prompt: {tokens} tokens with the style {style!r}; at most {limits.text_length} fit"
            )
