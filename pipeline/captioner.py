"""The captioner of a run: opened from a folder or the hub, or new; with its styles and settings."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from captioning.fusion import open_fusion
from captioning.styled import StyledCaptioner, join_styles, open_styled
from captioning.writer import CaptionWriter
from configuration.groups import DecodeConfig, ImageConfig, RunConfig, StyleConfig
from models import new_captioner
from models.captioner import NewModel, VisionInfo
from models.settings import CaptionerSettings, Decoding
from pipeline.data import styles_of
from pipeline.punctuation import punctuation_of
from preprocessors.examples import CaptionExample, texts_of
from preprocessors.pictures.feature_cache import UNCROPPED_VIEWS
from preprocessors.pictures.images import MEAN_STD, Resizer
from preprocessors.text.captions import Punctuation
from preprocessors.text.corpora import StyledText
from preprocessors.text.masking import masked_prompt
from preprocessors.text.prompts import STYLE_SLOT
from preprocessors.text.style_names import fold_name, slip_of
from preprocessors.text.styles import StyleRegistry

logger = logging.getLogger(__name__)


def new_registry(
    style: StyleConfig, examples: Sequence[CaptionExample], corpus: Sequence[StyledText] = ()
) -> StyleRegistry:
    """Registry over the styles of the training examples and of a text-only corpus, without aliases."""
    return StyleRegistry(styles_of(examples, corpus), inject=style.inject, neutral=style.neutral)


def set_up_captioner(
    config: RunConfig, train_examples: Sequence[CaptionExample], corpus: Sequence[StyledText] = ()
) -> StyledCaptioner:
    """The captioner that a training run starts from, with the settings it came with.

    Args:
        config: ``model.name`` or ``model.preset``, and the style settings.
        train_examples: Give the styles and, for a new model, the BPE.
        corpus: Texts without pictures, which add to both.

    Raises:
        ValueError: If the model reads styles otherwise, cannot be made as it is asked for or cannot be given a style,
            or lacks one of those that it is to be rewarded for.
    """
    registry = new_registry(config.style, train_examples, corpus)
    if config.model.name is None:
        return _new_captioner(config, registry.extended((), config.style.aliases), train_examples, corpus)
    styled = open_styled(config.model.name, revision=config.model.revision, registry=registry, kind=config.model.kind)
    # What draws no captions in a style cannot be rewarded for them, nor prefer one of two.
    if config.scst.enabled or config.preference.enabled:
        registry.check_known_to(styled.registry, config.model.name)
    registry.check_read_as_in(styled.registry, config.model.name)
    joined = styled.with_styles(registry.names, config.style.aliases)
    _tell_new_styles(styled.registry, joined.registry, config.model.name)
    return joined


def _tell_new_styles(before: StyleRegistry, after: StyleRegistry, model: str) -> None:
    """Say what a model has been given: nobody else notices a name that is written wrong."""
    known = [*before.names, *before.aliases]
    for name in after.names[len(before) :]:
        logger.info("%s: new style %r, in the prompt as %s", model, name, after.token_of(name))
        if slip := slip_of(name, map(fold_name, known)):
            meant = before.resolve(slip)
            logger.warning(
                "new style %r is all but %r; if it is the same: style.aliases.%s=%s", name, meant, name, meant
            )


def _new_captioner(
    config: RunConfig, registry: StyleRegistry, train_examples: Sequence[CaptionExample], corpus: Sequence[StyledText]
) -> StyledCaptioner:
    captions = [caption for _, _, texts in texts_of(train_examples) for caption in texts]
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
            punctuation=punctuation_of(config.data, None),
        ),
        config.model.kind,
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
    punctuation: Punctuation = "strip",
    resizer: Resizer | None = None,
) -> CaptionerSettings:
    """What the captioner of a run must be used with.

    Args:
        image: Its pictures.
        style: Its prompt.
        decode: How it captions, ``max_length`` resolved.
        registry: Of the model.
        styles: What the run trains on.
        vision: What its vision network was made for; holds where neither the configuration nor the model it starts from
            says otherwise.
        before: Of the model that the run starts from, whose trained styles stay known.
        punctuation: Of :func:`pipeline.punctuation.punctuation_of`.
        resizer: Of its pictures where the configuration names none; None = that of the model the run starts from.
    """
    trained = {registry.resolve(name) for name in (*styles, *(() if before is None else before.trained_styles))}
    if style.dropout:
        trained.add(registry.neutral)
    size, mean_std = vision.image_size, vision.mean_std
    own_resizer: Resizer = "pillow"
    if before is not None:
        size, mean_std, own_resizer = before.image_size, before.mean_std, before.resizer
    size = image.size or size
    return CaptionerSettings(
        image_size=size,
        max_image_size=image.max_size or size,
        mean_std=mean_std if image.mean_std is None else MEAN_STD[image.mean_std],
        prompt=style.prompt,
        neutral_prompt=style.prompt.replace(STYLE_SLOT, registry.token_of(registry.neutral)),
        trained_styles=tuple(name for name in registry.names if name in trained),
        decoding=make_decoding(decode),
        punctuation=punctuation,
        resizer=image.resizer or resizer or own_resizer,
    )


def make_decoding(decode: DecodeConfig) -> Decoding:
    """How a run generates captions; ``decode.max_length`` is resolved."""
    return Decoding(**decode.model_dump(exclude={"lm", "lm_weight", "lm_guidance"}))


def make_writer(config: RunConfig, styled: StyledCaptioner) -> CaptionWriter:
    """What captions in a run: the model's own picture size and prompt, the run's decoding and training draws."""
    if doubt := styled.doubt_of_guidance(config.decode.guidance):
        logger.warning("%s; the captions may be anything", doubt)
    crops = config.image.random_crop or config.image.feature_views > UNCROPPED_VIEWS
    preprocessor = styled.preprocessor(
        style_dropout=config.style.dropout,
        random_crop_from=config.image.max_size if crops else None,
        seed=config.train.seed,
    )
    writer = CaptionWriter(styled.captioner, preprocessor, make_decoding(config.decode))
    if (decode := config.decode).lm is not None:
        assert styled.settings is not None  # its preprocessor has been made
        writer.fusion = open_fusion(
            decode.lm,
            styled.captioner.tokenizer,
            styled.settings.trained_styles,
            weight=decode.lm_weight,
            guidance=decode.lm_guidance,
            max_length=writer.decoding.max_length,
        )
    return writer


def check_guidance(decode: DecodeConfig, styled: StyledCaptioner) -> None:
    """Refuse to train a model that is to be guided by a neutral style that it will not learn.

    Raises:
        ValueError: Saying what to train instead.
    """
    if doubt := styled.doubt_of_guidance(decode.guidance):
        raise ValueError(f"{doubt}; set style.dropout above 0, style.neutral to a trained style, or this to 1")


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
    if decode.max_length is not None and decode.max_length > limits.text_length:
        raise ValueError(f"decode.max_length={decode.max_length}: the model has positions for {limits.text_length}")
    for style in preprocessor.registry.names:
        tokens = len(writer.captioner.tokenizer.encode_text(preprocessor.prompt_text(style)))
        if tokens > limits.text_length:
            raise ValueError(
                f"style.prompt: {tokens} tokens with the style {style!r}; at most {limits.text_length} fit"
            )
