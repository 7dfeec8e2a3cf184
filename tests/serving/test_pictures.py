"""What is said of a picture before it is decoded."""

from __future__ import annotations

import base64
import struct
import zlib

import pytest
from PIL import Image

from serving.errors import Refusal
from serving.pictures import check_picture, from_base64
from tests.serving.conftest import encode


def refusal_of(call, *arguments):
    with pytest.raises(Refusal) as refused:
        call(*arguments)
    return refused.value


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_says(width, height, *chunks):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")


def test_from_base64_reads_plain_base64_and_data_urls(picture, picture64):
    assert from_base64(picture64) == picture
    assert from_base64(f"data:image/png;base64,{picture64}") == picture
    assert from_base64(f"data:;base64,{picture64}") == picture


@pytest.mark.parametrize(
    "text",
    [
        *("/etc/passwd", "../../secret.png", "http://127.0.0.1/a.png", "file:///etc/passwd", "YWJj YWJj", "YWJ", "é"),
        *("data:image/png,abcd", "data:image/png;base64,YWJj\n", "YWJj!", "\ud800"),
    ],
)
def test_from_base64_refuses_everything_else(text):
    refused = refusal_of(from_base64, text)
    assert refused.code == "invalid"
    assert "no base64" in refused.message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_check_picture_tells_the_size_of_every_format(kind):
    assert check_picture(encode(Image.new("RGB", (6, 4)), kind), 24) == (6, 4)


def test_check_picture_size_is_that_of_the_upright_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert check_picture(encode(Image.new("RGB", (6, 4)), "JPEG", exif=exif), 24) == (4, 6)


@pytest.mark.parametrize(("width", "height"), [(5, 5), (100_000, 100_000), (2**31 - 1, 2**31 - 1)])
def test_check_picture_refuses_too_many_pixels_by_the_header_alone(width, height):
    assert refusal_of(check_picture, png_that_says(width, height), 24).code == "picture_too_large"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"hello", "text file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "PostScript"),
        (b"\0" * 200, "no format"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read"),
    ],
)
def test_check_picture_says_what_is_no_picture(data, said):
    refused = refusal_of(check_picture, data, 24)
    assert refused.code == "not_a_picture"
    assert said in refused.message


def test_check_picture_opens_no_format_that_holds_other_pictures():
    """An icon's header says 16 x 16; the PNG inside may be of any size."""
    inside = png_that_says(30_000, 30_000)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inside), 22) + inside
    assert refusal_of(check_picture, icon, 10**9).code == "not_a_picture"


def test_check_picture_refuses_text_that_unpacks_to_megabytes():
    bomb = png_chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(40_000_000), 9))
    assert refusal_of(check_picture, png_that_says(4, 4, bomb), 24).code == "not_a_picture"


def test_check_picture_refuses_thousands_of_scans():
    plain = encode(Image.effect_noise((16, 16), 50).convert("RGB"), "JPEG", progressive=True)
    assert check_picture(plain, 256) == (16, 16)
    start = plain.index(b"\xff\xda")
    many = plain[:start] + plain[start:-2] * 200 + plain[-2:]
    assert "scans" in refusal_of(check_picture, many, 256).message


def test_base64_of_a_picture_has_no_sign_that_parts_values():
    """The bound on a JSON body's values counts them."""
    assert not {*base64.b64encode(bytes(range(256)) * 3).decode()} & {*",[{"}
