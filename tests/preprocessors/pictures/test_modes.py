"""Pixels made by hand in every mode of Pillow, and what a person sees of them."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocessors.pictures.images import load_image
from preprocessors.pictures.modes import as_seen, scale_deep

RED, WHITE, BLACK = (255, 0, 0), (255, 255, 255), (0, 0, 0)


def grey(value: int) -> tuple[int, int, int]:
    return (value, value, value)


# (mode, what each pixel holds, what is seen of it)
SEEN = [
    ("1", [0, 255], [BLACK, WHITE]),
    ("L", [0, 7, 255], [BLACK, grey(7), WHITE]),
    ("LA", [(9, 255), (0, 0), (0, 51)], [grey(9), WHITE, grey(204)]),
    ("La", [(9, 255), (0, 0), (20, 51)], [grey(9), WHITE, grey(224)]),  # 20 of 51 is 100; 100 / 5 + 255 * 4 / 5
    ("RGB", [RED, (1, 2, 3)], [RED, (1, 2, 3)]),
    ("RGBX", [(1, 2, 3, 0), (1, 2, 3, 255)], [(1, 2, 3)] * 2),
    ("RGBA", [(1, 2, 3, 255), (0, 0, 0, 0), (255, 0, 100, 102)], [(1, 2, 3), WHITE, (255, 153, 193)]),
    ("RGBa", [(1, 2, 3, 255), (0, 0, 0, 0), (102, 0, 40, 102)], [(1, 2, 3), WHITE, (255, 153, 193)]),
    ("CMYK", [(0, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255), (0, 51, 0, 51)], [WHITE, RED, BLACK, (204, 163, 204)]),
    ("YCbCr", [(255, 128, 128), (76, 85, 255), (77, 128, 128)], [WHITE, (254, 0, 0), grey(77)]),
    ("HSV", [(0, 255, 255), (0, 0, 70), (85, 255, 255)], [RED, grey(70), (0, 255, 0)]),
    # a and b are signed; red is at 54.29, 80.80, 69.89 under D50
    ("LAB", [(0, 0, 0), (255, 0, 0), (137, 0, 0), (138, 81, 70)], [BLACK, WHITE, grey(128), RED]),
    ("I;16", [0, 257, 65535, 32896, 255], [BLACK, grey(1), WHITE, grey(128), grey(1)]),
    ("I;16L", [0, 65535, 32896], [BLACK, WHITE, grey(128)]),
    ("I;16B", [0, 65535, 32896], [BLACK, WHITE, grey(128)]),
    ("I;16N", [0, 65535, 32896], [BLACK, WHITE, grey(128)]),
    ("I", [0, 255, 100], [BLACK, WHITE, grey(100)]),
    ("I", [0, 65535, 32896], [BLACK, WHITE, grey(128)]),
    ("I", [-1000, 1000, 0], [BLACK, WHITE, grey(128)]),
    ("I", [100_000, 300_000, 200_000], [BLACK, WHITE, grey(128)]),
    ("F", [0.0, 1.0, 0.2], [BLACK, WHITE, grey(51)]),
    ("F", [0.0, 200.0, 51.4], [BLACK, grey(200), grey(51)]),
    ("F", [0.0, 65535.0, 257.0], [BLACK, WHITE, grey(1)]),
    ("F", [-2.0, 2.0, 0.0], [BLACK, WHITE, grey(128)]),
    ("F", [0.5, 0.5], [grey(128), grey(128)]),
]
PALETTE = [*RED, *(0, 0, 200), *(0, 100, 0)]


def pixels_of(image: Image.Image) -> list[tuple[int, int, int]]:
    assert image.mode == "RGB"
    return [tuple(row) for row in np.asarray(image).reshape(-1, 3).tolist()]


def picture(mode: str, values: list) -> Image.Image:
    """One row of pixels."""
    if mode.startswith("I;16"):
        order = ">" if mode == "I;16B" else "<"  # native is little-endian on every machine that is tested
        return Image.frombytes(mode, (len(values), 1), struct.pack(f"{order}{len(values)}H", *values))
    if mode in ("I", "F"):
        kind = np.int32 if mode == "I" else np.float32
        return Image.fromarray(np.array([values], kind))
    bands = [value if isinstance(value, tuple) else (value,) for value in values]
    if mode == "1":
        return Image.frombytes("L", (len(values), 1), bytes(values)).convert("1")
    return Image.frombytes(mode, (len(values), 1), bytes(number for pixel in bands for number in pixel))


@pytest.mark.parametrize(("mode", "values", "seen"), SEEN)
def test_as_seen_pixels_by_hand(mode: str, values: list, seen: list):
    found = pixels_of(as_seen(picture(mode, values)))
    if mode == "LAB":  # through tables of a colour library
        assert np.abs(np.subtract(found, seen)).max() <= 5
    else:
        assert found == seen


@pytest.mark.parametrize("alpha", [(255, 255, 255), (255, 0, 51)])
def test_as_seen_palette_with_its_own_transparency(alpha: tuple[int, ...]):
    image = Image.frombytes("PA", (3, 1), bytes([0, alpha[0], 1, alpha[1], 2, alpha[2]]))
    image.putpalette(PALETTE)
    last = (0, 100, 0) if alpha[2] == 255 else (204, 224, 204)
    assert pixels_of(as_seen(image)) == [RED, (0, 0, 200) if alpha[1] else WHITE, last]


def test_every_mode_of_pillow_is_in_the_table():
    assert {mode for mode, *_ in SEEN} | {"P", "PA"} == {*Image.MODES}


@pytest.mark.parametrize(
    ("transparency", "seen"),
    [
        (None, [RED, (0, 0, 200), (0, 100, 0)]),
        (1, [RED, WHITE, (0, 100, 0)]),
        (bytes([255, 51, 0]), [RED, (204, 204, 244), WHITE]),
        (bytes([0]), [WHITE, (0, 0, 200), (0, 100, 0)]),
    ],
)
@pytest.mark.parametrize("suffix", ["png", "gif"])
def test_palette_file_by_hand(tmp_path: Path, transparency, seen: list, suffix: str):
    if suffix == "gif" and isinstance(transparency, bytes):
        pytest.skip("GIF has one transparent colour")
    image = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    image.putpalette(PALETTE)
    image.save(tmp_path / f"x.{suffix}", **({} if transparency is None else {"transparency": transparency}))
    assert pixels_of(load_image(tmp_path / f"x.{suffix}")) == seen


def png(path: Path, colour: int, depth: int, rows: list[bytes], *chunks: tuple[bytes, bytes], width: int) -> Path:
    """A PNG written by hand, after the specification."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    stream = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    stream.seek(0, io.SEEK_END)
    for name, data in [(b"IHDR", header), *chunks, (b"IDAT", body), (b"IEND", b"")]:
        stream.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize(
    ("colour", "depth", "row", "key", "seen"),
    [
        (0, 8, bytes([0, 9, 255]), (9,), [BLACK, WHITE, WHITE]),
        (0, 8, bytes([0, 9, 255]), None, [BLACK, grey(9), WHITE]),
        (0, 1, bytes([0b01000000]), (0,), [WHITE, WHITE, WHITE]),  # pixels 0 1 0, and 0 is transparent
        (0, 2, bytes([0b00011000]), (1,), [BLACK, WHITE, grey(170)]),  # 0 1 2 of 3
        (0, 4, bytes([0x0F, 0x30]), (3,), [BLACK, WHITE, WHITE]),  # 0 15 3 of 15
        (0, 4, bytes([0x0F, 0x30]), (0,), [WHITE, WHITE, grey(51)]),
        (0, 16, struct.pack(">3H", 0, 32896, 257), (257,), [BLACK, grey(128), WHITE]),
        (0, 16, struct.pack(">3H", 0, 32896, 257), None, [BLACK, grey(128), grey(1)]),
        (2, 8, bytes([*RED, 1, 2, 3, 0, 0, 0]), (1, 2, 3), [RED, WHITE, BLACK]),
        (2, 16, struct.pack(">9H", 65535, 0, 0, 257, 514, 771, 0, 0, 0), (257, 514, 771), [RED, WHITE, BLACK]),
        (4, 8, bytes([0, 0, 7, 255, 0, 51]), None, [WHITE, grey(7), grey(204)]),
        (4, 16, struct.pack(">6H", 0, 0, 0x0707, 65535, 0, 13107), None, [WHITE, grey(7), grey(204)]),
        (6, 16, struct.pack(">12H", 65535, 0, 0, 65535, *[0] * 4, 0, 0, 0, 65535), None, [RED, WHITE, BLACK]),
    ],
)
def test_png_of_every_depth_by_hand(tmp_path: Path, colour: int, depth: int, row: bytes, key, seen: list):
    chunks = [] if key is None else [(b"tRNS", struct.pack(f">{len(key)}H", *key))]
    assert pixels_of(load_image(png(tmp_path / "x.png", colour, depth, [row], *chunks, width=3))) == seen


@pytest.mark.parametrize(
    ("mode", "values", "seen"),
    [row for row in SEEN if row[0] in ("1", "L", "LA", "RGB", "RGBA", "CMYK", "F", "I", "LAB")],
)
def test_tiff_of_a_mode_is_seen_as_the_mode(tmp_path: Path, mode: str, values: list, seen: list):
    picture(mode, values).save(tmp_path / "x.tif")
    assert np.abs(np.subtract(pixels_of(load_image(tmp_path / "x.tif")), seen)).max() <= (5 if mode == "LAB" else 0)


def test_cmyk_jpeg_is_not_seen_as_its_negative(tmp_path: Path):
    """Adobe's JPEGs, and those of Pillow, store how little ink there is."""
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "x.jpg", quality=100)
    assert b"Adobe" in (tmp_path / "x.jpg").read_bytes()
    assert np.abs(np.subtract(load_image(tmp_path / "x.jpg").getpixel((8, 8)), RED)).max() <= 2


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_animated_picture_shows_its_first_frame(tmp_path: Path, suffix: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 0, 255))]
    exact = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"x.{suffix}", save_all=True, append_images=frames[1:], **exact)
    with Image.open(tmp_path / f"x.{suffix}") as image:
        assert image.n_frames == 2
    assert {*pixels_of(load_image(tmp_path / f"x.{suffix}"))} == {RED}


# EXIF 2.3, tag 274: where the pixel in row r, column c of a file of R rows and C columns belongs (row, column).
PLACES = {
    1: lambda r, c, R, C: (r, c),  # noqa: N803
    2: lambda r, c, R, C: (r, C - 1 - c),
    3: lambda r, c, R, C: (R - 1 - r, C - 1 - c),
    4: lambda r, c, R, C: (R - 1 - r, c),
    5: lambda r, c, R, C: (c, r),
    6: lambda r, c, R, C: (c, R - 1 - r),
    7: lambda r, c, R, C: (C - 1 - c, R - 1 - r),
    8: lambda r, c, R, C: (C - 1 - c, r),
}


@pytest.mark.parametrize("orientation", [*PLACES, 0, 9])
@pytest.mark.parametrize(("suffix", "mode"), [("png", "RGB"), ("png", "RGBA"), ("tif", "RGB"), ("webp", "RGB")])
def test_orientation_turns_the_picture_upright(tmp_path: Path, orientation: int, suffix: str, mode: str):
    stored = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 9
    exif = Image.Exif()
    exif[0x0112] = orientation
    exact = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(stored).convert(mode).save(tmp_path / f"x.{suffix}", exif=exif, **exact)
    place = PLACES.get(orientation, PLACES[1])
    expected = np.zeros((2, 3, 3) if orientation not in (5, 6, 7, 8) else (3, 2, 3), np.uint8)
    for row in range(2):
        for column in range(3):
            expected[place(row, column, 2, 3)] = stored[row, column]
    seen = load_image(tmp_path / f"x.{suffix}")
    assert np.asarray(seen).tolist() == expected.tolist()
    assert not seen.getexif()


def test_orientation_of_a_jpeg_that_is_decoded_at_reduced_size(tmp_path: Path):
    image, exif = Image.new("RGB", (160, 64), RED), Image.Exif()
    image.paste((0, 0, 255), (0, 0, 80, 64))  # the left half of the file is the top of the picture
    exif[0x0112] = 6
    image.save(tmp_path / "x.jpg", exif=exif, quality=95)
    seen = load_image(tmp_path / "x.jpg", at_least=16)
    assert seen.size == (16, 40)
    assert seen.getpixel((8, 5))[2] > 200
    assert seen.getpixel((8, 35))[0] > 200


def test_broken_exif_does_not_hide_the_picture(tmp_path: Path):
    Image.new("RGB", (6, 4), RED).save(tmp_path / "x.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff rubbish")
    assert {*pixels_of(load_image(tmp_path / "x.png"))} == {RED}


def test_floats_that_are_no_numbers_are_refused_by_name(tmp_path: Path):
    Image.fromarray(np.array([[0.0, np.nan]], np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"x\.tif: .*of mode F, which cannot be shown .*not finite.*8-bit RGB"):
        load_image(tmp_path / "x.tif")


def test_scale_deep_16_bits_keep_their_range_whatever_occurs():
    assert scale_deep(np.array([[0, 200]], np.uint16), is_16_bit=True).tolist() == [[0, 1]]
    assert scale_deep(np.array([[0, 200]], np.int32)).tolist() == [[0, 200]]
