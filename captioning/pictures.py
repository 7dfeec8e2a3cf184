"""Picture files to captions with a trained model folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from captioning.styled import StyledCaptioner, open_styled
from captioning.writer import CaptionWriter, join_processes
from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.pictures.images import UnreadablePicture, load_image
from preprocessors.text.styles import COMBINED

logger = logging.getLogger(__name__)

BATCH_SIZE = 16


def caption_images(
    model: str,
    images: Sequence[Path],
    style: str | Sequence[str] | None,
    *,
    all_styles: bool,
    guidance: float | None = None,
) -> list[tuple[Path, str, str]]:
    """Caption pictures with a trained model, decoding as its folder says.

    Args:
        model: Model folder.
        images: Picture files.
        style: Style name or alias; several, as a list or with ``+`` between, are combined in one prompt; None is the
            neutral style.
        all_styles: One caption in every style instead.
        guidance: Weight of the style against the neutral one; None as the folder says.

    Returns:
        (picture, style, caption), picture by picture.

    Raises:
        FileNotFoundError: If a picture or a file of the model is missing.
        ValueError: If a picture cannot be read, a style is unknown or was never trained, or several do not fit into the
            prompt.
    """
    for path in images:
        check_picture(path)
    styled = open_styled(model)
    if styled.settings is None:
        raise ValueError(f"{model}: configuration.json does not say how styles enter the prompt; use a trained folder")
    wanted = styled.settings.trained_styles if all_styles else (_wanted_style(styled, style, model),)
    decoding = styled.settings.decoding
    decoding = decoding if guidance is None else replace(decoding, guidance=guidance)
    if doubt := styled.doubt_of_guidance(decoding.guidance):
        logger.warning("%s: %s; the captions may be anything", model, doubt)
    styled.captioner.module.to(join_processes().device)
    writer = CaptionWriter(styled.captioner, styled.preprocessor(), decoding)
    examples = [
        CaptionExample(make_example_id(f"{path}, number {number}", name), path, name, ("",))
        for number, path in enumerate(images)
        for name in wanted
    ]
    captions = writer.caption(examples, BATCH_SIZE)
    return [(example.image_path, example.style, captions[example.example_id]) for example in examples]


def _wanted_style(styled: StyledCaptioner, style: str | Sequence[str] | None, model: str) -> str:
    """The style, or combination, that is asked for, as the registry writes it."""
    assert styled.settings is not None
    registry, trained = styled.registry, styled.settings.trained_styles
    given = style if isinstance(style, str) else COMBINED.join(style or (registry.neutral,))
    parts = registry.parts_of(given or registry.neutral)
    for part in parts:
        if part not in trained:
            raise ValueError(f"{model}: style {part!r} was never trained; give --style, one of: {', '.join(trained)}")
    wanted, preprocessor = COMBINED.join(parts), styled.preprocessor()
    tokens, most = (
        len(styled.captioner.tokenizer.encode_text(preprocessor.prompt_text(wanted))),
        preprocessor.max_source_length,
    )
    if tokens > most:
        raise ValueError(f"style {wanted!r}: its prompt has {tokens} tokens, and {most} fit; combine fewer styles")
    return wanted


def check_picture(path: Path) -> None:
    """Refuse a file that is missing or no picture."""
    try:
        load_image(path, at_least=1)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: picture not found; check the path") from error
    except UnreadablePicture as error:
        raise ValueError(f"{path}: the picture cannot be read; {error.reason}") from error
