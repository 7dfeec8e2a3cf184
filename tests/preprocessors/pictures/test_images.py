import random
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from preprocessors.examples import CaptionExample
from preprocessors.pictures.images import MEAN_STD, ImageTransform, load_image, verify_images


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


def test_load_image_ignores_the_orientation_tag(tmp_path: Path):
    image, exif = Image.new("RGB", (6, 4)), Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").size == (6, 4)


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


def test_load_image_folder_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="the picture cannot be read"):
        load_image(tmp_path)


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
