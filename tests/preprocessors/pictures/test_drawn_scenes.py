"""Drawn scenes: same input, same files; held-out scenes; captions that need the picture and show their style."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocessors.pictures.drawn_scenes import (
    COLOURS,
    RELATIONS,
    SHAPES,
    STYLE_TEMPLATES,
    Scene,
    draw_scene,
    split_scenes,
    write_drawn_scenes,
)

SMALL = {"num_train": 7, "num_val": 3, "size": 32, "val_size": 48}


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cider(references: dict[str, list[str]], hypotheses: dict[str, str]) -> float:
    from pycocoevalcap.cider.cider import Cider

    return Cider().compute_score(references, {key: [caption] for key, caption in hypotheses.items()})[0]


def words_of(scene: Scene) -> set[str]:
    return {*scene.first, scene.relation, *scene.second}


def test_write_drawn_scenes_twice_gives_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_drawn_scenes(tmp_path / name, **SMALL)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert len(one) == 7 + 3 + 3  # pictures, then train.jsonl, val.jsonl and done.json


def test_write_drawn_scenes_other_seed_gives_other_pictures(tmp_path):
    write_drawn_scenes(tmp_path / "one", **SMALL)
    write_drawn_scenes(tmp_path / "two", **SMALL, seed=8)
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert all(one[name] != two[name] for name in one)


def test_write_drawn_scenes_done_folder_is_left_alone(tmp_path):
    write_drawn_scenes(tmp_path / "scenes", **SMALL)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "scenes").rglob("*")}
    write_drawn_scenes(tmp_path / "scenes", **SMALL)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "scenes").rglob("*")} == before


def test_write_drawn_scenes_other_number_replaces_the_folder_and_leaves_nothing_beside_it(tmp_path):
    write_drawn_scenes(tmp_path / "scenes", **SMALL)
    write_drawn_scenes(tmp_path / "scenes", **SMALL | {"num_train": 4})
    assert len(read_rows(tmp_path / "scenes" / "train.jsonl")) == 4 * 4
    assert len(list((tmp_path / "scenes" / "images").iterdir())) == 4 + 3
    assert [path.name for path in tmp_path.iterdir()] == ["scenes"]


def test_write_drawn_scenes_lost_picture_is_drawn_again(tmp_path):
    write_drawn_scenes(tmp_path, **SMALL)
    before = contents(tmp_path)
    (tmp_path / "images" / "val_0001.png").unlink()
    write_drawn_scenes(tmp_path, **SMALL)
    assert contents(tmp_path) == before


def test_write_drawn_scenes_folder_of_other_files_is_refused_untouched(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"dear to someone")
    with pytest.raises(ValueError, match="does not hold drawn scenes; give another folder"):
        write_drawn_scenes(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_write_drawn_scenes_no_training_pictures_is_refused(tmp_path):
    with pytest.raises(ValueError, match="num_train=0: must be at least 1"):
        write_drawn_scenes(tmp_path / "scenes", num_train=0)


def test_write_drawn_scenes_interrupted_leaves_no_folder(tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("preprocessors.pictures.drawn_scenes.write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        write_drawn_scenes(tmp_path / "scenes", **SMALL)
    assert list(tmp_path.iterdir()) == []


def test_rows_name_their_picture_and_hold_three_captions_in_every_style(tmp_path):
    write_drawn_scenes(tmp_path, **SMALL)
    rows = read_rows(tmp_path / "val.jsonl")
    assert [row["style"] for row in rows] == ["neutral", "romantic", "pirate", "robot"] * 3
    assert {row["image"] for row in rows} == {"val_0000.png", "val_0001.png", "val_0002.png"}
    assert all(len(set(row["captions"])) == 3 for row in rows)
    with Image.open(tmp_path / "images" / rows[0]["image"]) as picture:
        assert (picture.mode, picture.size) == ("RGB", (48, 48))


def test_split_scenes_parts_all_scenes_without_overlap():
    train, val = split_scenes(7)
    # 6 colours x 5 shapes, then one of the 5 other colours x 5 shapes, in 3 relations
    assert len({*train, *val}) == len(train) + len(val) == 30 * 25 * 3
    assert len(val) == 225


def test_split_scenes_validation_shows_nothing_that_training_lacks():
    train, val = split_scenes(7)
    assert set().union(*map(words_of, train)) == {*COLOURS, *SHAPES, *RELATIONS}
    for part in ("first", "second"):
        assert {getattr(scene, part) for scene in val} <= {getattr(scene, part) for scene in train}


def test_draw_scene_first_shape_lies_where_the_relation_says():
    for relation, pixel in (("above", (32, 17)), ("beside", (17, 32)), ("inside", (32, 32))):
        scene = Scene(("red", "square"), relation, ("blue", "circle"))
        for number in range(10):
            picture = draw_scene(scene, 64, random.Random(number))
            assert picture.getpixel(pixel) == pytest.approx(COLOURS["red"], abs=12)


def test_draw_scene_large_and_shrunk_looks_like_drawn_small():
    scene = Scene(("green", "star"), "inside", ("yellow", "heart"))
    large, small = (draw_scene(scene, size, random.Random(3)) for size in (192, 64))
    shrunk = large.resize((64, 64), Image.Resampling.BICUBIC)
    difference = np.abs(np.asarray(shrunk, dtype=float) - np.asarray(small, dtype=float))
    assert difference.mean() < 1.5  # of 255


def test_captions_name_every_content_word_in_fourteen_words():
    for scene in split_scenes(7)[1]:
        for style in STYLE_TEMPLATES:
            for caption in scene.captions(style):
                assert words_of(scene) <= set(caption.split())
                assert len(caption.split()) <= 14


def test_cider_of_perfect_captions_is_high_and_needs_the_picture():
    scenes = split_scenes(7)[1][:100]
    keys = [(number, style) for number in range(len(scenes)) for style in STYLE_TEMPLATES]
    references = {f"{number}#{style}": scenes[number].captions(style) for number, style in keys}

    def score(shift: int) -> float:
        other = {key: scenes[(key[0] + shift) % len(scenes)] for key in keys}
        return cider(references, {f"{n}#{style}": other[n, style].captions(style)[0] for n, style in keys})

    assert score(0) > 6.5
    assert score(1) < 0.3 * score(0)
