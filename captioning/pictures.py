"""Pictures as people have them: a file, its bytes, or Pillow's own."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image
from torch import Tensor

from preprocessors.pictures.files import open_picture
from preprocessors.pictures.images import (
    DECODE_ERRORS,
    ImageTransform,
    UnreadablePicture,
    check_pixels,
    decode_picture,
    needed_side,
)
from preprocessors.pictures.modes import as_seen

Picture = Path | str | bytes | Image.Image
"""A path, also as text; an encoded picture; or a decoded one, which stays as it is."""


def read_picture(
    picture: Picture, transform: ImageTransform, *, max_pixels: int | None = None, called: str = "picture"
) -> Tensor:
    """The pixels that a captioner takes, upright and on white; the same of a file, its bytes and what Pillow decodes.

    Only of a JPEG far larger than the captioner needs do Pillow's pixels differ: files and bytes are decoded at reduced
    size.

    Args:
        picture: Any; of a path inside a container as well.
        transform: Of the captioner.
        max_pixels: Most width times height, beside what this process allows.
        called: What messages call a picture that has no path.

    Returns:
        uint8 (3, H, W).

    Raises:
        FileNotFoundError: If there is no such file.
        PictureTooLarge: If it has too many pixels.
        UnreadablePicture: If it is no picture that Pillow knows, or damaged; says why.
        TypeError: If it is nothing of the kind.
    """
    called = str(picture) if isinstance(picture, Path | str) else called
    at_least = needed_side((transform.height, transform.width), transform.resizer)
    try:
        return transform.pixels(_decode(picture, at_least, max_pixels))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{called}: picture not found; check the path") from error
    except UnreadablePicture as error:
        raise type(error)(f"{called}: the picture cannot be read; {error.reason}", error.reason) from error
    except DECODE_ERRORS as error:
        raise UnreadablePicture(f"{called}: the picture cannot be read; {error}", str(error)) from error


def _decode(picture: Picture, at_least: int, max_pixels: int | None) -> Image.Image:
    if isinstance(picture, Image.Image):
        check_pixels(picture, max_pixels)
        return as_seen(picture)
    if isinstance(picture, bytes):
        return decode_picture(io.BytesIO(picture), at_least, max_pixels)
    if isinstance(picture, Path | str):
        with open_picture(Path(picture)) as file:
            return decode_picture(file, at_least, max_pixels)
    raise TypeError(f"a {type(picture).__name__} is no picture; give a path, the bytes of a file, or Pillow's Image")
