import json
import os
import random
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter, features
from safetensors.torch import load_file

from preprocessors.examples import CaptionExample
from preprocessors.pictures import images
from preprocessors.pictures.images import (
    MAX_PIXELS,
    MEAN_STD,
    ImageTransform,
    Resizer,
    UnreadablePicture,
    limit_pixels,
    load_image,
    verify_images,
)
from preprocessors.readers import read_examples


@pytest.mark.parametrize(("size", "step"), [(224, 1), (480, 8)])
@pytest.mark.parametrize("number", range(4))  # RGB, grey, transparent, palette
def test_image_transform_golden_pictures_agree_to_1e_6(shared: Path, size: int, step: int, number: int):
    folder = shared / "golden" / "preprocess"
    expected = load_file(folder / "samples.safetensors")[f"patch_{size}_{number}"]
    pixels = ImageTransform(size)(load_image(folder / f"image_{number}.png"))
    assert pixels.shape == (3, size, size)
    assert pixels.dtype == torch.float32
    torch.testing.assert_close(pixels[:, ::step, ::step], expected, rtol=0, atol=1e-6)


def test_image_transform_height_and_width_are_not_swapped():
    image = Image.new("RGB", (2, 1))
    image.putdata([(0, 0, 0), (255, 255, 255)])
    pixels = ImageTransform((3, 8))(image)
    assert pixels.shape == (3, 3, 8)
    assert (pixels[:, :, 0] == -1).all()
    assert (pixels[:, :, -1] == 1).all()


def test_image_transform_imagenet_statistics_by_hand():
    pixels = ImageTransform(1, MEAN_STD["imagenet"])(Image.new("RGB", (1, 1), (255, 0, 51)))
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    torch.testing.assert_close(pixels.flatten(), torch.tensor(expected))


def test_image_transform_crop_is_a_window_of_the_larger_picture_and_follows_the_generator(pictures: Path):
    image = load_image(pictures / "a.png")
    transform = ImageTransform((4, 5), random_crop_from=9)
    larger = ImageTransform(9)(image)
    windows = [larger[:, top : top + 4, left : left + 5] for top in range(6) for left in range(5)]
    crops = [transform(image, random.Random(seed)) for seed in range(60)]
    places = {next(i for i, window in enumerate(windows) if torch.equal(window, crop)) for crop in crops}
    assert len(places) > 20  # of 30: every offset can be drawn
    assert torch.equal(transform(image, random.Random(3)), crops[3])


def test_image_transform_without_generator_never_crops(pictures: Path):
    image = load_image(pictures / "a.png")
    assert torch.equal(ImageTransform(4, random_crop_from=9)(image), ImageTransform(4)(image))


def test_image_transform_bad_settings_are_refused():
    with pytest.raises(ValueError, match=r"image\.max_size=10: must be at least image\.size=12"):
        ImageTransform((8, 12), random_crop_from=10)


def test_pictures_without_orientation_and_transparency_are_as_pillow_decodes_them(tmp_path: Path):
    image = Image.effect_noise((75, 50), 80).convert("RGB")
    for suffix in ("jpg", "png", "webp", "bmp"):
        path = tmp_path / f"x.{suffix}"
        image.save(path)
        with Image.open(path) as expected:
            assert load_image(path).tobytes() == expected.convert("RGB").tobytes()


def test_load_image_at_least_reduces_jpegs_to_what_is_needed(tmp_path: Path):
    Image.linear_gradient("L").resize((400, 320)).convert("RGB").save(tmp_path / "x.jpg")
    sizes = {side: load_image(tmp_path / "x.jpg", at_least=side).size for side in (161, 160, 80, 40, 1)}
    assert sizes == {161: (400, 320), 160: (200, 160), 80: (100, 80), 40: (50, 40), 1: (50, 40)}
    whole = ImageTransform(40).pixels(load_image(tmp_path / "x.jpg")).float()
    for resizer in ("pillow", "torch"):
        assert (ImageTransform(40, resizer=resizer).read(tmp_path / "x.jpg") - whole).abs().mean() < 1


@pytest.mark.parametrize(("resizer", "decoded"), [("pillow", (200, 160)), ("torch", (100, 80))])
def test_transform_decodes_twice_the_size_for_pillow_and_just_the_size_for_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resizer: Resizer, decoded: tuple[int, int]
):
    Image.new("RGB", (400, 320)).save(tmp_path / "x.jpg")
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(images, "load_image", lambda *given: seen.append(load_image(*given).size) or load_image(*given))
    ImageTransform((60, 80), resizer=resizer).read(tmp_path / "x.jpg")
    assert seen == [decoded]


def test_photo_of_200_megapixels_is_no_bomb(tmp_path: Path):
    Image.new("L", (20_000, 10_000), 90).save(tmp_path / "x.jpg")
    started = time.process_time()
    assert ImageTransform(8).read(tmp_path / "x.jpg").unique().tolist() == [90]
    assert time.process_time() - started < 20


@pytest.mark.parametrize("side", [11, 30])  # Pillow warns of the first and refuses the second by itself
def test_limit_of_pixels_is_a_setting_that_is_named(tmp_path: Path, side: int):
    Image.new("RGB", (10, 10)).save(tmp_path / "small.png")
    Image.new("RGB", (side, 10)).save(tmp_path / "large.png")
    limit_pixels(100)
    try:
        assert load_image(tmp_path / "small.png").size == (10, 10)
        with pytest.raises(ValueError, match=r"large\.png: the picture cannot be read .*image\.max_pixels is"):
            load_image(tmp_path / "large.png")
    finally:
        limit_pixels(MAX_PIXELS)


@pytest.mark.parametrize("resizer", ["pillow", "torch"])
@pytest.mark.parametrize("size", [(500, 375), (75, 50), (224, 224), (1, 1), (3000, 40)])
def test_both_resizers_agree_but_for_rounding(resizer: Resizer, size: tuple[int, int]):
    noise = np.random.default_rng(3).integers(0, 256, (*size[::-1], 3), np.uint8)
    image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(1))
    expected = np.asarray(image.resize((96, 64), Image.Resampling.BICUBIC)).astype(int)
    found = ImageTransform((64, 96), resizer=resizer).pixels(image)
    assert (found.dtype, found.shape) == (torch.uint8, (3, 64, 96))
    difference = np.abs(found.permute(1, 2, 0).numpy() - expected)
    assert difference.max() <= (1 if resizer == "torch" else 0)
    assert difference.mean() < 0.02


def test_normalise_on_a_batch_is_the_transform_of_each_bit_for_bit(pictures: Path):
    transform = ImageTransform((5, 6), MEAN_STD["imagenet"])
    images = [load_image(pictures / name) for name in ("a.png", "b.png")]
    batch = transform.normalise(torch.stack([transform.pixels(image) for image in images]))
    assert torch.equal(batch, torch.stack([transform(image) for image in images]))


def test_load_image_missing_names_file_and_remedy(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no\.jpg: picture not found.*data\.images"):
        load_image(tmp_path / "no.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "webp", "tiff"])
def test_load_image_truncated_names_file_and_remedy(tmp_path: Path, suffix: str):
    path = tmp_path / f"half.{suffix}"
    Image.effect_noise((64, 64), 90).convert("RGB").save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(ValueError, match=rf"half\.{suffix}: the picture cannot be read .*data\.on_bad_image=skip"):
        load_image(path)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_load_image_not_a_picture_names_file(tmp_path: Path, content: bytes):
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.png: the picture cannot be read"):
        load_image(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"not a picture", "it is a text file"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>404", "it is a web page: the download failed"),
        (b'<svg xmlns="x">', "it is SVG"),
        (b"%PDF-1.7", "it is PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "it is EPS"),
        (b"\xff\x0a\xfa\x1f", "it is JPEG XL"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "it is HEIC.*pip install pillow-heif, or convert it to JPEG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "it is a video"),
        (b"PK\3\4\x14", "it is a zip archive"),
        (b"version https://git-lfs.github.com/spec/v1", "it is a pointer of Git LFS"),
        (b"\x80\x81\x82", "in no picture format that Pillow knows"),
    ],
)
def test_load_image_says_what_a_file_is_that_is_no_picture(tmp_path: Path, content: bytes, said: str):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(UnreadablePicture, match=rf"x\.jpg: the picture cannot be read \(.*{said}"):
        load_image(tmp_path / "x.jpg")


def test_heic_is_read_with_the_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pillow_heif.py").write_text(
        "from PIL import Image, ImageFile\n"
        "class Heic(ImageFile.ImageFile):\n"
        "    format = 'HEIF'\n"
        "    def _open(self):\n"
        "        self._mode, self._size = 'RGB', (3, 2)\n"
        "    def load(self):\n"
        "        self.im = Image.new('RGB', (3, 2), (7, 8, 9)).im\n"
        "        return super(ImageFile.ImageFile, self).load()\n"
        "def register_heif_opener():\n"
        "    Image.register_open('HEIF', Heic, lambda head: head[8:12] == b'heic')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(Image, "ID", [*Image.ID])
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    (tmp_path / "x.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    image = load_image(tmp_path / "x.heic")
    assert (image.size, image.getpixel((2, 1))) == ((3, 2), (7, 8, 9))
    sys.modules.pop("pillow_heif")


def test_avif_is_read_upright_where_pillow_can(tmp_path: Path):
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40), (255, 0, 0)).save(tmp_path / "x.avif", exif=exif, quality=95)
    assert load_image(tmp_path / "x.avif").size == (40, 60)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_circle(path: Path) -> None:
    path.symlink_to(path.with_name("other.jpg"))
    path.with_name("other.jpg").symlink_to(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # of at most 107 bytes


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_folder, "it is a folder"),
        (os.mkfifo, "it is a named pipe"),
        (make_socket, "it is a socket"),
        (make_circle, "it is a symbolic link that leads in a circle"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
    ],
)
def test_what_is_no_file_is_named_with_its_row_and_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], said: str
):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    make(tmp_path / "x.jpg")
    rows = [{"image": name, "style": "calm", "captions": ["x"]} for name in ("a.png", "x.jpg")]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    started = time.monotonic()
    places = {"annotations": tmp_path, "images": tmp_path, "split_name": "train"}
    read = read_examples("jsonl", **places, allow_outside=True)
    with pytest.raises(ValueError, match=rf"train\.jsonl, row 2: .*x\.jpg: the picture cannot be read \({said}"):
        verify_images(read.examples, "error")
    assert [row.row for row in verify_images(read.examples, "skip")[1]] == [2]
    assert time.monotonic() - started < 5


def test_damaged_avif_is_unreadable_wherever_the_damage_is(tmp_path: Path):
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    path, draw = tmp_path / "x.avif", random.Random(0)
    Image.effect_noise((48, 32), 60).convert("RGB").save(path)
    whole, unread = path.read_bytes(), 0
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(10):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        path.write_bytes(damaged)
        try:
            load_image(path)
        except UnreadablePicture:
            unread += 1
    assert unread > 20


def test_verify_images_skip_drops_each_row_of_a_truncated_picture(pictures: Path):
    examples = [
        CaptionExample(f"{name}#{style}", pictures / name, style, ("x",), "rows.jsonl", row)
        for row, (name, style) in enumerate(
            [("a.png", "calm"), ("c.png", "calm"), ("b.png", "calm"), ("c.png", "wry")], 1
        )
    ]
    kept, dropped = verify_images(examples, "skip")
    assert [item.example_id for item in kept] == ["a.png#calm", "b.png#calm"]
    assert [(row.source, row.row, row.reason) for row in dropped] == [
        ("rows.jsonl", 2, "unreadable picture"),
        ("rows.jsonl", 4, "unreadable picture"),
    ]
    assert "c.png" in dropped[0].detail
    with pytest.raises(ValueError, match=r"rows\.jsonl, row 2: .*c\.png: the picture cannot be read .*1 of 3 pictures"):
        verify_images(examples, "error")
    assert verify_images(examples[::2], "error") == (examples[::2], [])
    with pytest.raises(ValueError, match=r"not one of 1 pictures can be read; the first: .*c\.png"):
        verify_images(examples[1:2], "skip")
