"""Picture files to captions with a trained model folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from captioning.styled import open_styled
from captioning.writer import CaptionWriter, join_processes
from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.pictures.images import UnreadablePicture, load_image

BATCH_SIZE = 16


def caption_images(
    model: str, images: Sequence[Path], style: str | None, *, all_styles: bool
) -> list[tuple[Path, str, str]]:
    """Caption pictures with a trained model, decoding as its folder says.

    Args:
        model: Model folder.
        images: Picture files.
        style: Style name; None is the neutral style.
        all_styles: One caption in every style instead.

    Returns:
        (picture, style, caption), picture by picture.
    """
    for path in images:
        check_picture(path)
    styled = open_styled(model)
    if styled.settings is None:
        raise ValueError(f"{model}: configuration.json does not say how styles enter the prompt; use a trained folder")
    trained = styled.settings.trained_styles
    wanted = trained if all_styles else (styled.registry.resolve(style or styled.registry.neutral),)
    if wanted[0] not in trained:
        raise ValueError(f"{model}: style {wanted[0]!r} was never trained; give --style, one of: {', '.join(trained)}")
    styled.captioner.module.to(join_processes().device)
    writer = CaptionWriter(styled.captioner, styled.preprocessor(), styled.settings.decoding)
    examples = [
        CaptionExample(make_example_id(f"{path}, number {number}", name), path, name, ("",))
        for number, path in enumerate(images)
        for name in wanted
    ]
    captions = writer.caption(examples, BATCH_SIZE)
    return [(example.image_path, example.style, captions[example.example_id]) for example in examples]


def check_picture(path: Path) -> None:
    """Refuse a file that is missing or no picture."""
    try:
        load_image(path, at_least=1)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: picture not found; check the path") from error
    except UnreadablePicture as error:
        raise ValueError(f"{path}: the picture cannot be read; {error.reason}") from error
