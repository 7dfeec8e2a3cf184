from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from preprocessors.checks.names import check_names
from preprocessors.examples import CaptionExample
from tests.container_files import picture_bytes, write_tar, write_tsv


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "beach").mkdir()
    for name in ("a.jpg", unicodedata.normalize("NFD", "é.jpg"), "beach/1.jpg", "Big.JPG"):
        (tmp_path / name).touch()
    return tmp_path


def rows(images: Path, *names: str) -> list[CaptionExample]:
    return [
        CaptionExample(f"{name}#calm", images / name, "calm", ("x",), "t", row) for row, name in enumerate(names, 1)
    ]


def test_name_that_differs_in_its_form_is_no_missing_picture(images: Path, found):
    given = rows(images, "a.jpg", unicodedata.normalize("NFC", "é.jpg"), "beach\\1.jpg", "big.jpg", "gone.jpg")
    told = found(lambda findings: check_names({"train": given}, images, findings))
    assert told["missing_picture"] == [str(images / "gone.jpg")]
    assert [value.partition(" (the file is ")[2] for value in told["name_of_another_form"]] == [
        unicodedata.normalize("NFD", "é.jpg)"),
        "beach/1.jpg)",
        "Big.JPG)",
    ]
    assert told.keys() == {"missing_picture", "name_of_another_form"}


def test_two_files_whose_names_are_one_elsewhere_are_told(images: Path, found):
    (images / unicodedata.normalize("NFC", "é.jpg")).touch()
    if len(list(images.iterdir())) < 5:
        pytest.skip("this file system has one name for both forms")
    given = rows(images, unicodedata.normalize("NFC", "é.jpg"), "a.jpg", unicodedata.normalize("NFD", "é.jpg"))
    told = found(lambda findings: check_names({"train": given[:2], "val": given[2:]}, images, findings))
    assert told.keys() == {"similar_picture_names"}
    assert len(told["similar_picture_names"]) == 1


def test_folder_that_is_not_there_makes_every_picture_missing(tmp_path: Path, found):
    told = found(lambda findings: check_names({"train": rows(tmp_path / "no", "a", "b")}, tmp_path / "no", findings))
    assert len(told["missing_picture"]) == 2


def test_pictures_in_a_tar_and_a_tsv_are_there(tmp_path: Path, found):
    tar = write_tar(tmp_path / "a.tar", {"in/1.png": picture_bytes(1), "2.png": picture_bytes(2)})
    tsv = write_tsv(tmp_path / "b.tsv", [("x/7", "a dog", picture_bytes(3))])
    given = [*rows(tar, "in/1.png", "2.png", "3.png"), *rows(tsv, "x/7", "x/8")]
    told = found(lambda findings: check_names({"train": given}, tmp_path, findings))
    assert told == {"missing_picture": [str(tar / "3.png"), str(tsv / "x/8")]}


def test_what_is_no_file_is_there_to_be_opened_and_named(images: Path, found):
    (images / "loop.jpg").symlink_to("loop.jpg")
    (images / "nowhere.jpg").symlink_to("gone.jpg")
    os.mkfifo(images / "pipe.jpg")
    there: list[set[Path]] = []
    given = rows(images, "loop.jpg", "pipe.jpg", "beach", "nowhere.jpg")
    told = found(lambda findings: there.append(check_names({"train": given}, images, findings)))
    assert told == {"missing_picture": [str(images / "nowhere.jpg")]}
    assert there == [{images / name for name in ("loop.jpg", "pipe.jpg", "beach")}]
