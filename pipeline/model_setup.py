"""Captioners for a run: opened from a folder or the hub, or new with a BPE of the training captions."""

from __future__ import annotations

import difflib
import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from configuration.loading import RunConfig
from models.ofa import (
    PRESETS,
    OFAConfig,
    OFAForConditionalGeneration,
    OFATokenizer,
    load_ofa,
    save_ofa,
    write_configuration,
)
from pipeline.data import styles_of
from preprocessors.examples import CaptionExample
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.bpe import train_bpe
from preprocessors.text.corpora import StyledText
from preprocessors.text.masking import masked_prompt
from preprocessors.text.prompts import STYLE_SLOT
from preprocessors.text.styles import FILE_NAME as STYLES_FILE
from preprocessors.text.styles import StyleRegistry
from utils.hub import resolve_model_folder
from utils.io import read_json

logger = logging.getLogger(__name__)

BEAM_SETTINGS = {"beam_size", "max_len_b", "min_len", "no_repeat_ngram_size"}
MAX_TOKENS = 256
"""Tokens kept of a prompt or caption, as in ModelScope's preprocessor."""


class StyledModel(NamedTuple):
    """A captioner with the vocabulary and the styles that belong to it.

    Attributes:
        model: In evaluation mode.
        tokenizer: With style tokens, if the styles are injected as tokens.
        registry: Styles.
        settings: ``model`` section of the ``configuration.json`` it was opened from; empty for others' folders.
    """

    model: OFAForConditionalGeneration
    tokenizer: OFATokenizer
    registry: StyleRegistry
    settings: dict[str, Any]


def new_registry(
    config: RunConfig, examples: Sequence[CaptionExample], corpus: Sequence[StyledText] = ()
) -> StyleRegistry:
    """Registry over the styles of the training examples and of a text-only corpus."""
    return StyleRegistry(styles_of([*examples, *corpus]), inject=config.style.inject, neutral=config.style.neutral)


def set_up_model(
    config: RunConfig, train_examples: Sequence[CaptionExample], corpus: Sequence[StyledText] = ()
) -> StyledModel:
    """The captioner that a training run starts from.

    Args:
        config: ``model.name`` or ``model.preset``, and the style settings.
        train_examples: Give the styles and, for a new model, the BPE.
        corpus: Texts without pictures, which add to both.

    Raises:
        ValueError: If the model does not know all styles of the data, or an override is no field of OFAConfig.
    """
    registry = new_registry(config, train_examples, corpus)
    if config.model.name is None:
        captions = [caption for example in train_examples for caption in example.captions]
        return _new_model(config, registry, [*captions, *(text.body for text in corpus)])
    styled = open_styled_model(config.model.name, revision=config.model.revision, registry=registry)
    registry.check_known_to(styled.registry, config.model.name)
    return styled


def open_styled_model(
    name: str | os.PathLike[str], *, revision: str | None = None, registry: StyleRegistry | None = None
) -> StyledModel:
    """Open a captioner.

    Args:
        name: Folder or hub id.
        revision: Of the hub model.
        registry: Styles for a folder that has no ``styles.json``, such as a published checkpoint.

    Raises:
        FileNotFoundError: If there is neither ``styles.json`` nor ``registry``.
    """
    folder = resolve_model_folder(os.fspath(name), revision)
    model, tokenizer = load_ofa(folder)
    settings = read_settings(folder)
    if registry is None or settings or (folder / STYLES_FILE).is_file():
        registry = StyleRegistry.load(folder)
    add_style_tokens(model, tokenizer, registry)
    return StyledModel(model, tokenizer, registry, settings)


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a folder of ours; empty for others', which may name sizes but not how a style enters the prompt.

    Raises:
        ValueError: If ``configuration.json`` is damaged.
    """
    path = folder / "configuration.json"
    description = read_json(path) if path.is_file() else {}
    settings = description.get("model") if isinstance(description, dict) else None
    if not isinstance(settings, dict) or "style_prompt" not in settings:
        return {}
    needed = {"patch_image_size", "imagenet_default_mean_and_std", "beam_search", "length_penalty", "trained_styles"}
    missing = sorted(needed - set(settings)) or sorted(BEAM_SETTINGS - set(settings["beam_search"]))
    if missing:
        raise ValueError(f"{path}: model.{missing[0]} is missing; copy the file again from the training run")
    return settings


def add_style_tokens(model: OFAForConditionalGeneration, tokenizer: OFATokenizer, registry: StyleRegistry) -> None:
    """Give every style token a row of the embedding, in place; new rows start as the mean of the name's sub-words."""
    fresh = [
        name
        for name in registry.names
        if registry.style_tokens() and registry.token_of(name) not in tokenizer.style_tokens
    ]
    if not fresh:
        return
    tokenizer.add_style_tokens([registry.token_of(name) for name in fresh])
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        for name in fresh:
            sub_words = tokenizer.encode_text(f" {name.lower()}")
            weight[tokenizer.convert_tokens_to_ids(registry.token_of(name))] = weight[sub_words].mean(0)


def _new_model(config: RunConfig, registry: StyleRegistry, captions: Sequence[str]) -> StyledModel:
    num_codes = len(registry) if registry.inject == "code" else 0
    prompts = [config.style.prompt.replace(STYLE_SLOT, registry.token_of(name)) for name in registry.names]
    if config.masked_lm.weight:
        prompts += [masked_prompt("", registry.token_of(name)) for name in registry.names]
    with tempfile.TemporaryDirectory() as scratch:
        train_bpe(captions, Path(scratch), config.model.bpe_size, extra_texts=prompts)
        tokenizer = OFATokenizer.from_pretrained(scratch, num_codes=num_codes, num_bins=0)
    torch.manual_seed(config.train.seed)
    model = OFAForConditionalGeneration(_new_ofa_config(config, tokenizer)).eval()
    add_style_tokens(model, tokenizer, registry)
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    logger.info("new %s model: %.2f M parameters, vocabulary of %d", config.model.preset, millions, len(tokenizer))
    return StyledModel(model, tokenizer, registry, {})


def _new_ofa_config(config: RunConfig, tokenizer: OFATokenizer) -> OFAConfig:
    overrides = config.model.overrides
    # What follows from the captions' BPE is not for the user to set.
    derived = {name for name in OFAConfig.__dataclass_fields__ if name.endswith(("_token_id", "vocab_size"))}
    known = set(OFAConfig.__dataclass_fields__) - derived
    for name, value in overrides.items():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"model.overrides.{name}: cannot be set; did you mean {nearest}?")
        kind = type(getattr(OFAConfig, name, None))
        if kind in (bool, int, float, str) and not (type(value) is kind or (kind is float and type(value) is int)):
            raise ValueError(f"model.overrides.{name}={value!r}: must be of type {kind.__name__}")
    sizes = {"vocab_size": len(tokenizer), "text_vocab_size": tokenizer.text_vocab_size}
    try:
        return OFAConfig(**PRESETS[config.model.preset or ""] | overrides | sizes)
    except TypeError as error:
        raise ValueError(f"model.overrides: {' '.join(str(error).split())}") from error


def model_settings(
    config: RunConfig,
    registry: StyleRegistry,
    train_examples: Sequence[CaptionExample],
    corpus: Sequence[StyledText] = (),
    already: Sequence[str] = (),
) -> dict[str, Any]:
    """What a captioner must be used with: the ``model`` section of its ``configuration.json``.

    ModelScope reads the sizes, the ``prompt`` (for the neutral style) and ``beam_search``; the rest is ours.

    Args:
        config: Of the run.
        registry: Of the model.
        train_examples: Their styles are trained.
        corpus: Texts without pictures, whose styles are trained too.
        already: Styles that the model knew before.
    """
    decode = config.decode
    trained = {registry.resolve(style) for style in (*styles_of([*train_examples, *corpus]), *already)}
    if config.style.dropout:
        trained.add(registry.neutral)
    return {
        "patch_image_size": config.image.size,
        "max_image_size": config.image.max_size or config.image.size,
        "imagenet_default_mean_and_std": config.image.mean_std == "imagenet",
        "prompt": config.style.prompt.replace(STYLE_SLOT, registry.token_of(registry.neutral)),
        "style_prompt": config.style.prompt,
        "trained_styles": [name for name in registry.names if name in trained],
        "beam_search": {
            "beam_size": decode.num_beams,
            "max_len_b": decode.max_length,
            "min_len": decode.min_length,
            "no_repeat_ngram_size": decode.no_repeat_ngram_size,
        },
        "length_penalty": decode.length_penalty,
    }


def build_preprocessor(
    styled: StyledModel, *, style_dropout: float = 0.0, random_crop_from: int | None = None, seed: int = 0
) -> OFAStylePreprocessor:
    """The preprocessor that a captioner's settings ask for; the arguments matter to training alone."""
    transform = ImageTransform(
        styled.settings["patch_image_size"],
        mean_std="imagenet" if styled.settings["imagenet_default_mean_and_std"] else "half",
        random_crop_from=random_crop_from,
    )
    return OFAStylePreprocessor(
        styled.tokenizer,
        styled.registry,
        image_transform=transform,
        prompt=styled.settings["style_prompt"],
        max_source_length=min(MAX_TOKENS, styled.model.config.max_position_embeddings - 2),
        style_dropout=style_dropout,
        seed=seed,
    )


def save_companions(folder: Path, styled: StyledModel) -> None:
    """Write what makes a folder with weights a captioner: vocabulary, styles, settings."""
    styled.tokenizer.save_folder(folder)
    styled.registry.save(folder)
    write_configuration(folder, styled.settings)


def save_styled_model(folder: Path, styled: StyledModel) -> None:
    """Write the final model: aside first, then in place of an older one, which goes only after that.

    Args:
        folder: ModelScope's layout plus ``styles.json``.
        styled: ``settings`` go into ``configuration.json``.
    """
    aside, old = folder.with_name(f".{folder.name}.new"), folder.with_name(f".{folder.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    save_ofa(aside, styled.model, styled.tokenizer, configuration=styled.settings)
    styled.registry.save(aside)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
