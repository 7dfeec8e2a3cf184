import logging
import multiprocessing
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from configuration.groups import ImageConfig
from pipeline.pictures import keep_pictures
from preprocessors.pictures import picture_cache, row_cache
from preprocessors.pictures.images import ImageTransform, load_image
from preprocessors.pictures.picture_cache import open_pictures

SIZE = (8, 12)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    draw = np.random.default_rng(1)
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths:
        Image.fromarray(draw.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return paths


@pytest.fixture
def no_opening(monkeypatch: pytest.MonkeyPatch):
    """From then on opening a picture is an error."""

    def refuse(path: Path, *_: object) -> None:
        raise AssertionError(f"{path} was opened")

    return lambda: [
        monkeypatch.setattr(f"preprocessors.pictures.{module}.load_image", refuse)
        for module in ("images", "picture_cache")
    ]


def _open(tmp_path: Path, images: list[Path], limit_mb: int = 1):
    return open_pictures(tmp_path / "kept", SIZE, "pillow", images, limit_mb=limit_mb)


def test_kept_pictures_are_those_of_the_files_and_the_second_start_opens_none(
    tmp_path, images, no_opening, monkeypatch
):
    monkeypatch.setattr(row_cache, "BATCH", 2)
    transform = ImageTransform(SIZE)
    expected = [transform.read(path) for path in images]
    assert _open(tmp_path, images) is not None
    no_opening()
    kept = pickle.loads(pickle.dumps(_open(tmp_path, images)))
    for path, pixels in zip(images, expected, strict=True):
        assert path in kept
        assert torch.equal(kept.get(path), pixels)
        kept.get(path).zero_()  # a copy
        assert torch.equal(kept.get(path), pixels)
    assert tmp_path / "other.png" not in kept


def test_a_picture_that_changed_is_resized_again(tmp_path, images):
    _open(tmp_path, images)
    Image.new("RGB", (20, 30), (7, 8, 9)).save(images[1])
    os.utime(images[1], (1, 1))
    kept = _open(tmp_path, images)
    assert kept is not None
    assert kept.get(images[1]).flatten(1).unique(dim=1).tolist() == [[7], [8], [9]]
    assert torch.equal(kept.get(images[0]), ImageTransform(SIZE).read(images[0]))


def test_pictures_that_do_not_fit_are_not_kept_and_the_log_names_the_setting(tmp_path, images, caplog):
    with caplog.at_level(logging.WARNING):
        assert open_pictures(tmp_path / "kept", (400, 400), "pillow", images, limit_mb=1) is None
    assert "resized pictures need 3 MiB and image.cache_mb is 1: opening the files every epoch" in caplog.text


def test_a_bad_picture_ends_it_and_leaves_nothing_half_written(tmp_path, images):
    images[3].write_bytes(b"")
    with pytest.raises(ValueError, match=r"3\.png: the picture cannot be read \(the file is empty\)"):
        _open(tmp_path, images)
    assert not [*(tmp_path / "kept").glob("*/*.bin"), *(tmp_path / "kept").glob("*/.part*")]


def _open_and_count(tmp_path: Path, images: list[Path], opened) -> None:
    def counting(path: Path, *size: int) -> Image.Image:
        with opened.get_lock():
            opened.value += 1
        return load_image(path, *size)

    picture_cache.load_image = counting
    kept = _open(tmp_path, images)
    assert kept is not None
    assert torch.equal(kept.get(images[2]), ImageTransform(SIZE).read(images[2]))


def test_processes_that_start_together_resize_each_picture_once(tmp_path, images):
    context = multiprocessing.get_context("fork")
    opened = context.Value("i", 0)
    processes = [context.Process(target=_open_and_count, args=(tmp_path, images, opened)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert opened.value == len(images)


@pytest.mark.parametrize("crop_from", [None, 16])
def test_a_transform_with_kept_pictures_gives_the_same_pixels_and_opens_none(tmp_path, images, no_opening, crop_from):
    plain = ImageTransform(SIZE, random_crop_from=crop_from)

    def looks(transform: ImageTransform) -> list[torch.Tensor]:
        whole = [transform.read(path) for path in images[3:]]
        return whole + [transform.read(path, random.Random(path.name)) for path in images[:3]]

    expected = looks(plain)
    keeping = ImageTransform(SIZE, random_crop_from=crop_from)
    image = ImageConfig(cache=tmp_path / "kept", cache_mb=1)
    keep_pictures(image, keeping, training=images[:3], evaluated=images[3:])
    no_opening()
    assert all(map(torch.equal, looks(keeping), expected))


def test_keep_pictures_is_off_unless_room_is_given_and_survives_a_folder_that_is_a_file(tmp_path, images, caplog):
    transform = ImageTransform(SIZE)
    keep_pictures(ImageConfig(cache=tmp_path / "kept"), transform, training=images, evaluated=[])
    assert not transform.kept
    assert not (tmp_path / "kept").exists()
    with caplog.at_level(logging.WARNING):
        keep_pictures(ImageConfig(cache=images[0], cache_mb=1), transform, training=images, evaluated=[])
    assert not transform.kept
    assert "cannot be used" in caplog.text
