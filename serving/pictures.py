"""The bytes that a client sends as a picture, looked at before anything decodes them."""

from __future__ import annotations

import base64
import binascii
import ctypes
import io
import logging
import re
import sys

from PIL import Image, UnidentifiedImageError

from preprocessors.pictures.images import DECODE_ERRORS
from preprocessors.pictures.modes import orientation_of
from preprocessors.pictures.refusals import HEAD_BYTES, add_heic_plugin, fault_of_content
from serving.errors import Refusal
from utils.errors import first_line

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
"""What is opened at all. The others that Pillow knows are rare, and some hold a second picture whose size their header
does not tell."""
MOST_SCANS = 100
"""Of a JPEG: a progressive one has about ten; a small file can hold thousands, each as much work as the first."""
LARGE = 12_000_000
"""Pixels from which pictures are decoded one at a time: one takes hundreds of megabytes meanwhile."""
DATA_URL = re.compile(r"data:[\w.+/-]{0,100}(;[\w=-]{0,50}){0,3};base64,")


def from_base64(text: str) -> bytes:
    """The bytes behind base64 or a data URL.

    Raises:
        Refusal: If it is neither.
    """
    head = DATA_URL.match(text, 0, 400)
    try:
        return base64.b64decode(text[head.end() :] if head else text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(
            "invalid",
            "image: is no base64; send the picture's bytes as base64 or as a data URL (no path and no other URL is "
            "ever opened), or send its file as multipart/form-data",
        ) from None


def check_picture(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Look at a picture's header; decodes nothing.

    Args:
        data: Its file.
        max_pixels: Most width times height.

    Returns:
        Width and height, as a person sees it.

    Raises:
        Refusal: If it is in none of :data:`FORMATS`, or larger.
    """
    try:
        with _open(data) as image:
            (width, height), turned = image.size, orientation_of(image) >= 5
            is_jpeg = image.format in ("JPEG", "MPO")
    except Image.DecompressionBombError:
        raise _too_large("it has", max_pixels) from None
    except UnidentifiedImageError:
        reason = fault_of_content(data[:HEAD_BYTES]) or "it is in no format that is taken"
        raise not_a_picture(f"{reason}; taken are {', '.join(FORMATS)}") from None
    except Exception as error:
        raise unreadable(error) from None
    if width * height > max_pixels:
        raise _too_large(f"{width} x {height}:", max_pixels)
    if is_jpeg and data.count(b"\xff\xda") > MOST_SCANS:
        raise not_a_picture(f"a JPEG of more than {MOST_SCANS} scans; save it anew")
    return (height, width) if turned else (width, height)


def _open(data: bytes) -> Image.Image:
    add_heic_plugin(data[:HEAD_BYTES])
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])


def not_a_picture(reason: str) -> Refusal:
    """What is said of a file that cannot be read."""
    return Refusal("not_a_picture", f"the picture cannot be read: {reason}")


def unreadable(error: Exception) -> Refusal:
    """The same of whatever was raised while a file was read: on hostile ones decoders raise anything."""
    if not isinstance(error, DECODE_ERRORS):
        logger.warning("a picture that cannot be read raised %s: %s", type(error).__name__, first_line(error))
        return not_a_picture("it is damaged")
    return not_a_picture(getattr(error, "reason", None) or first_line(error))


def _too_large(what: str, most: int) -> Refusal:
    return Refusal("picture_too_large", f"the picture: {what} more than {most:,} pixels; send it smaller")


def give_back_memory() -> None:
    """Let the system have what a large picture took; the C library would keep hundreds of megabytes for the next."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
        if trim is not None:
            trim(0)
