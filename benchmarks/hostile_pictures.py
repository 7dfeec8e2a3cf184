"""Files that are sent as pictures by people who mean harm, or whose download broke."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Mapping

from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A part of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, *chunks: bytes) -> bytes:
    """A PNG whose header says what it likes."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return (
        SIGNATURE + header + b"".join(chunks) + png_chunk(b"IDAT", zlib.compress(pixels, 9)) + png_chunk(b"IEND", b"")
    )


def truncated(draw: random.Random) -> bytes:
    """The beginning of a picture of any format."""
    kind = draw.choice(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
    whole = encode(Image.effect_noise((48, 32), 60).convert("RGB"), kind)
    return whole[: draw.randrange(1, len(whole))]


def damaged(draw: random.Random) -> bytes:
    """A picture with some of its bytes changed."""
    kind = draw.choice(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
    whole = bytearray(encode(Image.effect_noise((48, 32), 60).convert("RGB"), kind))
    for _ in range(draw.randrange(1, 30)):
        whole[draw.randrange(len(whole))] = draw.randrange(256)
    return bytes(whole)


def bomb(draw: random.Random) -> bytes:
    """A PNG of few bytes and many pixels, as it says or in truth."""
    side = draw.choice([6000, 20_000, 100_000, 2**31 - 1])
    return png(side, side, bytes(100_000))


def honest_giant(draw: random.Random) -> bytes:
    """A PNG of 36 million pixels that is there in whole."""
    return png(6000, 6000, bytes(6000 * 6001))


def text_bomb(draw: random.Random) -> bytes:
    """A PNG with texts or a colour profile that unpack to megabytes."""
    packed = zlib.compress(bytes(20_000_000), 9)
    kinds = {
        b"zTXt": b"a\0\0" + packed,
        b"iTXt": b"a\0\1\0\0\0" + packed,
        b"iCCP": b"a\0\0" + packed,
    }
    kind = draw.choice([*kinds])
    return png(8, 8, bytes(72), *[png_chunk(kind, kinds[kind])] * draw.choice([1, 50]))


def long_animation(draw: random.Random) -> bytes:
    """A GIF of 100,000 frames."""
    start = b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + bytes(6)
    frame = b"!\xf9\x04\0\1\0\0\0,\0\0\0\0\4\0\4\0\0\2\4\x84\x8f\t\5\0"
    return start + frame * 100_000 + b";"


def odd_orientation(draw: random.Random) -> bytes:
    """A JPEG whose EXIF is rubbish, or says an orientation that there is not."""
    if draw.random() < 0.5:
        exif = Image.Exif()
        exif[ORIENTATION] = draw.choice([0, 1, 5, 6, 9, 255, 65535])
        return encode(Image.new("RGB", (9, 5)), "JPEG", exif=exif)
    return encode(Image.new("RGB", (9, 5)), "JPEG", exif=b"Exif\0\0" + draw.randbytes(draw.randrange(200)))


def many_scans(draw: random.Random) -> bytes:
    """A progressive JPEG of thousands of scans."""
    plain = encode(Image.effect_noise((64, 64), 50).convert("RGB"), "JPEG", progressive=True)
    start = plain.index(b"\xff\xda")
    return plain[:start] + plain[start:-2] * 500 + plain[-2:]


def other_file(draw: random.Random) -> bytes:
    """What is no picture: markup, archives, programs, paths, nothing."""
    return draw.choice(
        [
            b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
            b"%PDF-1.7\n1 0 obj\n",
            b"PK\3\4" + bytes(60),
            b"\x7fELF" + bytes(60),
            b"../../../../etc/passwd",
            b"http://127.0.0.1:1/a.png",
            b"{}",
            b"\0" * draw.randrange(1, 5000),
            draw.randbytes(draw.randrange(1, 5000)),
        ]
    )


def polyglot(draw: random.Random) -> bytes:
    """A picture that is something else as well."""
    picture = encode(Image.new("RGB", (8, 8)), draw.choice(["GIF", "JPEG", "PNG", "BMP"]))
    other = draw.choice([b"<script>alert(1)</script>", b"PK\3\4" + bytes(40), b"#!/bin/sh\nexit\n", picture])
    return picture + other if draw.random() < 0.5 else other + picture


def odd_shape(draw: random.Random) -> bytes:
    """A picture that is a line, or of an unusual mode."""
    mode, kind = draw.choice(
        [("1", "PNG"), ("P", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG"), ("F", "TIFF"), ("LA", "PNG")]
    )
    return encode(Image.new(mode, draw.choice([(1, 1), (1, 3000), (3000, 1), (7, 5)])), kind)


def header_only(draw: random.Random) -> bytes:
    """The first bytes of a format and then anything."""
    head = draw.choice(
        [b"\xff\xd8\xff", SIGNATURE, b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"\0\0\0\x1cftypavif"]
    )
    return head + draw.randbytes(draw.randrange(300))


KINDS: Mapping[str, Callable[[random.Random], bytes]] = {
    kind.__name__: kind
    for kind in (
        *(truncated, damaged, bomb, text_bomb, odd_orientation, other_file, polyglot, odd_shape, header_only),
        *(many_scans, long_animation, honest_giant),
    )
}
"""By name what makes one; each draws from the generator that it is given."""
DEAR = ("honest_giant", "long_animation", "many_scans", "text_bomb")
"""Those that take long to make or to look at; a run has few of them."""
