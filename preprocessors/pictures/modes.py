"""Every way in which Pillow holds a picture to RGB, as a person sees it: upright, on white, in its full range."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WHITE = (255, 255, 255)
ORIENTATION = 0x0112
"""EXIF's tag: where the first row and the first column of the file lie in the picture as a person sees it."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
"""Modes of one channel that holds more than 8 bits."""
KEY_OF_BITS = {"L;2": 85, "L;4": 17}
"""By how much Pillow scales the pixels of such a PNG, and leaves its transparent grey as it stands in the file."""


def as_seen(image: Image.Image) -> Image.Image:
    """A picture as a viewer shows it, first frame.

    What is transparent lies on white. Integers and floats of more than 8 bits are scaled into the range that they use,
    see :func:`scale_deep`, and not clipped. Colour profiles are not applied.

    Args:
        image: Of any mode; opened, decoded or not.

    Returns:
        RGB, without what was beside the pixels: nobody can turn it a second time.

    Raises:
        ValueError: If its mode cannot be shown; names it.
    """
    seen = turned(as_stored(image), orientation_of(image))
    seen.info = {}
    return seen


def as_stored(image: Image.Image) -> Image.Image:
    """As :func:`as_seen`, but lying as it does in the file."""
    raw_mode = _raw_mode(image)  # known only until the picture is decoded
    image.load()
    return _to_rgb(image, raw_mode)


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """A picture upright that lies as EXIF says, from 1 (upright) to 8."""
    turn = TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def orientation_of(image: Image.Image) -> int:
    """EXIF's number from 1 to 8; 1 where there is none, or where it cannot be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return 1  # the pixels are there all the same
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else None
    return arguments if isinstance(arguments, str) else ""


def _to_rgb(image: Image.Image, raw_mode: str) -> Image.Image:
    key = image.info.get("transparency")
    try:
        if image.mode in DEEP:
            return _deep_to_rgb(image, key)
        if image.has_transparency_data:
            return _on_white(image, key, raw_mode)
        return image.convert("RGB")
    except (ValueError, ImportError, OSError) as error:
        raise ValueError(
            f"a picture of mode {image.mode}, which cannot be shown ({error}); convert it to 8-bit RGB"
        ) from error


def _on_white(image: Image.Image, key: Any, raw_mode: str) -> Image.Image:
    if image.mode in ("L", "RGB"):
        image = image.copy()
        image.info["transparency"] = _key_in_pixels(key, raw_mode)
    if image.mode == "La":  # Pillow has no direct way from it
        image = image.convert("LA")
    above = image.convert("RGBA")
    ground = Image.new("RGB", image.size, WHITE)
    ground.paste(above.convert("RGB"), mask=above.getchannel("A"))
    return ground


def _key_in_pixels(key: Any, raw_mode: str) -> Any:
    """The transparent colour of a PNG on the scale of the pixels: Pillow gives it on that of the file."""
    if isinstance(key, int):
        return min(key * KEY_OF_BITS.get(raw_mode, 1), 255)
    if isinstance(key, tuple) and max(key) > 255:  # 16 bits a channel, of which the pixels keep the upper half
        return tuple(value >> 8 for value in key)
    return key


def _deep_to_rgb(image: Image.Image, key: Any) -> Image.Image:
    values = np.asarray(image)
    grey = scale_deep(values, is_16_bit=image.mode.startswith("I;16"))
    if isinstance(key, int):
        grey = np.where(values == key, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def scale_deep(values: NDArray[Any], *, is_16_bit: bool = False) -> NDArray[np.uint8]:
    """One channel of more than 8 bits to 8, rounded.

    16 bits are 0 to 65,535 whatever occurs in them. A file of 32-bit integers or floats does not say what white is:
    floats up to 1 are taken as 0 to 1, what stays within 255 as 8 bits, what stays within 65,535 as 16 bits, and
    anything else from its lowest to its highest value.

    Args:
        values: (H, W).
        is_16_bit: Whether the file says so.

    Raises:
        ValueError: If a float is NaN or infinite.
    """
    if not np.isfinite(values).all():
        raise ValueError("it has values that are not finite numbers")
    lowest, highest = float(values.min()), float(values.max())
    is_float = np.issubdtype(values.dtype, np.floating)
    black, white = lowest, highest
    if lowest >= 0 or is_16_bit:
        limits = (65535.0,) if is_16_bit else (1.0, 255.0, 65535.0) if is_float else (255.0, 65535.0)
        black, white = next(((0.0, limit) for limit in limits if highest <= limit), (black, white))
    span = (white - black) or 1.0
    scaled: NDArray[np.uint8] = np.floor((values.astype(np.float64) - black) * (255 / span) + 0.5).astype(np.uint8)
    return scaled
