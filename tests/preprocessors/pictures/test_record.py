from __future__ import annotations

import io
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from preprocessors.pictures import record as module
from preprocessors.pictures.images import find_fault
from preprocessors.pictures.inspection import inspect_picture
from preprocessors.pictures.record import FILE_NAME, PictureRecord


def photo(seed: int, size: tuple[int, int] = (120, 90)) -> Image.Image:
    grid = np.random.default_rng(seed).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Three pictures that have not changed for an hour, and one that is cut short."""
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{seed}.jpg" for seed in range(4)]
    for seed, path in enumerate(paths):
        data = jpeg(photo(seed))
        path.write_bytes(data if seed < 3 else data[: len(data) // 2])
        age(path)
    return paths


def age(path: Path, seconds: float = 3600) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


class Judge:
    """Counts what it opens."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, path: Path) -> str | None:
        self.opened.append(path.name)
        return find_fault(path)


def test_pictures_are_opened_once_and_those_at_fault_every_time(photos: list[Path], tmp_path: Path):
    first, second = Judge(), Judge()
    faults = PictureRecord(tmp_path / "kept").find_faults(photos, first)
    assert sorted(first.opened) == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    assert [path.name for path in faults] == ["3.jpg"]
    record = PictureRecord(tmp_path / "kept")
    assert record.find_faults(photos, second) == faults
    assert second.opened == ["3.jpg"]
    assert record.opened == 1
    assert sorted(path.name for path in (tmp_path / "kept").iterdir() if path.name != "lock") == [FILE_NAME]
    rows = record.facts(photos)
    assert (rows["key"] != 0).tolist() == [True, True, True, False]
    known = inspect_picture(photos[1])
    assert {name: rows[1][name] for name in known._fields if name != "grey_share"} == {
        name: value for name, value in known._asdict().items() if name != "grey_share"
    }


def test_picture_that_changed_is_opened_again(photos: list[Path], tmp_path: Path):
    PictureRecord(tmp_path / "kept").find_faults(photos[:2], Judge())
    size = photos[0].stat().st_size
    photos[0].write_bytes(bytes(size))  # as long as before, and no picture
    judge = Judge()
    assert [*PictureRecord(tmp_path / "kept").find_faults(photos[:2], judge)] == [photos[0]]
    assert judge.opened == ["0.jpg"]


def test_picture_that_has_just_been_written_is_not_kept_for_others(photos: list[Path], tmp_path: Path):
    photos[0].write_bytes(jpeg(photo(9)))
    record = PictureRecord(tmp_path / "kept")
    record.find_faults(photos[:2], Judge())
    assert (record.facts(photos[:2])["key"] != 0).all()  # but known to this one
    judge = Judge()
    PictureRecord(tmp_path / "kept").find_faults(photos[:2], judge)
    assert judge.opened == ["0.jpg"]


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "other_type", "unsorted"])
def test_damaged_record_is_made_anew(photos: list[Path], tmp_path: Path, damage: str, caplog):
    PictureRecord(tmp_path / "kept").find_faults(photos[:3], Judge())
    file = tmp_path / "kept" / FILE_NAME
    rows = np.load(file)
    if damage == "other_type":
        np.save(file, np.arange(4))
    elif damage == "unsorted":
        np.save(file, rows[::-1])
    else:
        data = file.read_bytes()
        file.write_bytes({"empty": b"", "cut": data[:-5], "noise": b"\x93NUMPY" + data[::-1]}[damage])
    judge = Judge()
    assert PictureRecord(tmp_path / "kept").find_faults(photos[:3], judge) == {}
    assert len(judge.opened) == 3
    assert "opened again" in caplog.text
    assert np.array_equal(np.load(file)["key"], rows["key"])


def test_record_that_cannot_be_written_is_told_and_stops_nobody(photos: list[Path], tmp_path: Path, caplog):
    (tmp_path / "kept").write_text("a file in its place")
    assert PictureRecord(tmp_path / "kept").find_faults(photos[:2], Judge()) == {}
    assert "cannot be" in caplog.text


def test_record_without_a_folder_knows_what_it_has_seen(photos: list[Path]):
    record, judge = PictureRecord(None), Judge()
    record.find_faults(photos[:2], judge)
    record.find_faults(photos[:2], judge)
    assert len(judge.opened) == 2


def test_oldest_rows_go_beyond_the_limit(photos: list[Path], tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "LIMIT", 2)
    for second, path in enumerate(photos[:3]):
        monkeypatch.setattr(module.time, "time", lambda second=second: 2e9 + second)
        PictureRecord(tmp_path / "kept").find_faults([path], find_fault)
    rows = PictureRecord(tmp_path / "kept").facts(photos[:3])
    assert (rows["key"] != 0).tolist() == [False, True, True]


def fill(folder: Path, paths: list[Path]) -> None:
    PictureRecord(folder).find_faults(paths, find_fault)


def test_processes_that_fill_it_side_by_side_lose_nothing(tmp_path: Path, monkeypatch):
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{seed}.png" for seed in range(24)]
    for seed, path in enumerate(paths):
        photo(seed, (12, 9)).save(path)
        age(path)
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        list(pool.map(fill, [tmp_path / "kept"] * 12, [paths[start : start + 2] for start in range(0, 24, 2)]))
    assert (PictureRecord(tmp_path / "kept").facts(paths)["key"] != 0).all()


def test_what_an_interrupted_start_has_opened_is_kept(photos: list[Path], tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1)

    def judge(path: Path) -> str | None:
        if path == photos[2]:
            raise KeyboardInterrupt
        return find_fault(path)

    with pytest.raises(KeyboardInterrupt):
        PictureRecord(tmp_path / "kept").find_faults(photos[:3], judge)
    assert (PictureRecord(tmp_path / "kept").facts(photos[:3])["key"] != 0).tolist() == [True, True, False]


def facts_of(tmp_path: Path, data: bytes, name: str = "x.jpg"):
    (tmp_path / name).write_bytes(data)
    return inspect_picture(tmp_path / name)


@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_that_ends_too_early_with_an_end_marker_is_grey_at_the_bottom(tmp_path: Path, subsampling: int):
    data = jpeg(photo(1, (400, 300)), quality=85, subsampling=subsampling)
    facts = facts_of(tmp_path, data[: len(data) // 2] + b"\xff\xd9")
    pixels = np.asarray(Image.open(tmp_path / "x.jpg")).astype(int)
    assert (np.abs(pixels[-50:] - 128) <= 1).all()  # what Pillow makes of it without a word
    assert 0.2 < facts.grey_share < 0.8
    assert facts_of(tmp_path, data).grey_share == 0


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("optimize", [False, True])
def test_jpeg_with_zeros_in_its_middle_has_a_hole(tmp_path: Path, progressive: bool, optimize: bool):
    noise = Image.effect_noise((300, 200), 60).convert("RGB")
    image = Image.blend(noise, photo(2, (300, 200)), 0.7)
    data = jpeg(image, quality=90, progressive=progressive, optimize=optimize)
    half = len(data) // 2
    facts = facts_of(tmp_path, data[:half] + bytes(2048) + data[half + 2048 :])
    assert facts.has_hole
    assert not facts_of(tmp_path, data).has_hole


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True, "optimize": True}])
def test_flat_pictures_and_metadata_of_zeros_are_no_holes(tmp_path: Path, options: dict):
    white = Image.new("RGB", (2000, 1500), "white")
    white.paste(photo(3), (40, 40))
    facts = facts_of(tmp_path, jpeg(white, **options))
    assert not facts.has_hole
    assert facts.grey_share == 0
    assert not facts_of(tmp_path, jpeg(photo(4), icc_profile=bytes(5000), **options)).has_hole


def test_grey_picture_is_a_grey_picture(tmp_path: Path):
    facts = facts_of(tmp_path, jpeg(Image.new("RGB", (64, 64), (128, 128, 128))))
    assert facts.grey_share == 0
    assert facts.is_flat


def test_hashes_by_hand(tmp_path: Path):
    ramp = Image.fromarray(np.tile(np.arange(0, 252, 28, dtype=np.uint8), (9, 1)))
    ramp.save(tmp_path / "ramp.png")
    facts = inspect_picture(tmp_path / "ramp.png")
    assert (facts.across, facts.down) == (2**64 - 1, 0)  # every place is brighter than the one to its left
    ramp.transpose(Image.Transpose.TRANSPOSE).save(tmp_path / "down.png")
    facts = inspect_picture(tmp_path / "down.png")
    assert (facts.across, facts.down) == (0, 2**64 - 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_turns_what_is_compared_and_not_the_pixels(tmp_path: Path, orientation: int):
    image, exif = photo(5, (80, 80)), Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "plain.png")
    with Image.open(tmp_path / "turned.png") as opened:
        ImageOps.exif_transpose(opened).save(tmp_path / "upright.png", exif=Image.Exif())
    turned, plain, upright = (inspect_picture(tmp_path / f"{name}.png") for name in ("turned", "plain", "upright"))
    assert turned.orientation == orientation
    assert (turned.across, turned.down) == (upright.across, upright.down)
    assert turned.pixel_hash == plain.pixel_hash
    assert turned.file_hash != plain.file_hash


def test_pixels_are_the_same_whatever_the_file(tmp_path: Path):
    photo(6).save(tmp_path / "a.png")
    photo(6).save(tmp_path / "b.bmp")
    first, second = inspect_picture(tmp_path / "a.png"), inspect_picture(tmp_path / "b.bmp")
    assert first.pixel_hash == second.pixel_hash
    assert first.file_hash != second.file_hash


def test_what_shines_through_is_white(tmp_path: Path):
    image = photo(7).convert("RGBA")
    image.putalpha(0)
    image.save(tmp_path / "a.png")
    assert inspect_picture(tmp_path / "a.png").is_flat


def test_pictures_of_many_bits_and_keyed_greys_are_known_as_they_are_seen(tmp_path: Path):
    """Clipped to 8 bits, pictures of floats would all be black, and each a copy of the others."""
    steps = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    Image.fromarray(steps).save(tmp_path / "a.tiff")
    Image.fromarray(steps[:, ::-1].copy()).save(tmp_path / "b.tiff")
    Image.new("L", (64, 64), 7).save(tmp_path / "keyed.png", transparency=7)
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    one, other, keyed, white = (inspect_picture(tmp_path / n) for n in ("a.tiff", "b.tiff", "keyed.png", "white.png"))
    assert one.pixel_hash != other.pixel_hash
    assert (one.is_flat, other.is_flat) == (False, False)
    assert keyed.pixel_hash == white.pixel_hash
