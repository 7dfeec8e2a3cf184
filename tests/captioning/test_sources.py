"""What is to be captioned: folders, containers, lists; what is refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from captioning.sources import find_pictures, read_list
from captioning.wanted import Request, WantedPicture, in_styles, merged
from tests.container_files import write_tar


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with pictures below it, and with what is none."""
    folder = tmp_path / "photos"
    for name in ("b.png", "a.JPG", "deep/er/c.webp", ".hidden/d.png", "._a.jpg", "notes.txt", "a.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def test_folder_gives_its_pictures_with_everything_below_in_order_and_nothing_hidden(photos):
    found = find_pictures([photos])
    assert [picture.below for picture in found] == ["a.JPG", "b.png", "deep/er/c.webp"]
    assert [picture.name for picture in found] == [str(photos / picture.below) for picture in found]
    assert [picture.requests for picture in found] == [(Request(),)] * 3


def test_picture_that_is_named_and_lies_in_a_folder_that_is_too_comes_once_at_its_first_place(photos):
    found = find_pictures([photos / "b.png", photos, photos / "notes.txt"])
    assert [picture.path.name for picture in found] == ["b.png", "a.JPG", "c.webp", "notes.txt"]


def test_what_is_not_there_or_has_no_pictures_is_refused(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.png: picture not found; check the path"):
        find_pictures([photos, photos / "absent.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: no pictures in there; they end in \.avif"):
        find_pictures([tmp_path / "empty"])


def test_link_back_to_a_folder_above_ends_the_walk(photos, caplog):
    (photos / "deep/up").symlink_to(photos, target_is_directory=True)
    assert len(find_pictures([photos])) == 3
    assert "up: a link to a folder above it; left out" in caplog.text
    (photos / "gone.png").symlink_to(photos / "nowhere")
    assert len(find_pictures([photos])) == 4  # which is told when it cannot be opened


@pytest.mark.skipif(os.name == "nt", reason="names are no bytes there")
def test_name_that_is_no_utf8_is_shown_escaped_and_opened_as_it_is(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (8, 8)).save(tmp_path / name)
    (picture,) = find_pictures([tmp_path])
    assert picture.name == f"{tmp_path}/caf\\xe9.png"
    assert picture.path.is_file()
    (listed,) = read_list(os.fsencode(name) + b"\n", "list", tmp_path)
    assert (listed.path, listed.name) == (tmp_path / name, "caf\\xe9.png")


def test_tar_gives_its_pictures_also_those_of_a_folder_in_it_or_one(tmp_path):
    tar = write_tar(tmp_path / "0.tar", dict.fromkeys(["z.png", "in/a.jpg", "in/a.txt", "in/b/c.png"], b"x"))
    assert [picture.below for picture in find_pictures([tar])] == ["in/a.jpg", "in/b/c.png", "z.png"]
    assert [picture.below for picture in find_pictures([tar / "in"])] == ["a.jpg", "b/c.png"]
    (one,) = find_pictures([tar / "in/a.txt"])  # it is named, so it is taken for one
    assert (one.path, one.name) == (tar / "in/a.txt", f"{tar}/in/a.txt")
    with pytest.raises(ValueError, match="absent: no pictures in there"):
        find_pictures([tar / "absent"])


def test_list_of_the_original_gives_pictures_by_hash_with_style_and_reference(tmp_path):
    (tmp_path / "1f.png").write_bytes(b"")
    rows = [
        {"image_hash": "1f", "style": "Sweet", "reference": "so sweet"},
        {"image_hash": "2e", "style": "Wry"},
        {"image": "sub/x.jpg"},
        {"image_hash": "1f", "style": "Wry", "reference": ["a", "b"]},
    ]
    found = read_list(json.dumps(rows).encode(), "l.json", tmp_path)
    assert [picture.name for picture in found] == ["1f.png", "2e.jpg", "sub/x.jpg"]  # absent ones: .jpg
    assert found[0].requests == (
        Request("Sweet", {"image_hash": "1f", "reference": "so sweet"}, "l.json, row 1"),
        Request("Wry", {"image_hash": "1f", "reference": ["a", "b"]}, "l.json, row 4"),
    )
    assert found[2].requests == (Request(None, {}, "l.json, row 3"),)
    lines = b"\xef\xbb\xbf" + b"\n\n".join(json.dumps(row).encode() for row in rows)
    assert [picture.name for picture in read_list(lines, "l.jsonl", tmp_path)] == [picture.name for picture in found]


def test_list_of_paths_is_taken_line_by_line(tmp_path):
    found = read_list(b"ein Hund.jpg\r\n\n /abs/b.png\n../up/c.png\nw\\d.jpg", "standard input", tmp_path)
    assert [str(picture.path) for picture in found] == [
        *(f"{tmp_path}/ein Hund.jpg", "/abs/b.png", f"{tmp_path}/../up/c.png", f"{tmp_path}/w/d.jpg")
    ]
    assert [picture.below for picture in found] == ["ein Hund.jpg", "b.png", "up/c.png", "w/d.jpg"]  # never above


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"style": "wry"}]', "l, row 1: has neither 'image' nor 'image_hash', but style"),
        (b'[{"image": "a"}, 7]', r"l, row 2: must be an object such as .*, got 7"),
        (b'{"image": "a"}\n{"image": 3}', "l, row 2: 'image' must be text, got 3"),
        (b'{"image": "a", "style": " "}', "l, row 1: 'style' must be text"),
        (b'{"image": "a"}\n{"image', "l, line 2, column"),
        (b"[1,", "l, line 1, column"),
        (b" \n", "l: is empty"),
        (b"\x89PNG\r\n\0\0", "l: is no text"),
    ],
)
def test_list_that_cannot_be_used_is_refused_naming_the_row(content, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_list(content, "l", tmp_path)


def test_styles_of_rows_are_resolved_and_others_get_the_usual_ones():
    asked = (Request("WRY", {"reference": 1}, "l, row 1"), Request(None, {}, "l, row 2"))
    (found,) = in_styles([WantedPicture("a", Path("a"), "a", asked)], ["calm", "wry"], str.casefold)
    assert [(request.style, dict(request.about)) for request in found.requests] == [
        *(("wry", {"reference": 1}), ("calm", {}), ("wry", {}))
    ]
    assert found.styles() == ("wry", "calm")

    def refuse(style: str) -> str:
        raise ValueError(f"unknown style {style!r}")

    with pytest.raises(ValueError, match="l, row 1: unknown style 'WRY'"):
        in_styles([WantedPicture("a", Path("a"), "a", asked)], [], refuse)


def test_picture_that_is_listed_twice_is_asked_for_once_and_once_for_each_reference():
    rows = [{"image": "a", "style": "wry"}, {"image": "a", "style": "WRY"}, {"image": "a", "reference": "r"}]
    lines = b"\n".join(json.dumps(row).encode() for row in [*rows, *rows])
    (found,) = in_styles(read_list(lines, "l", Path()), ["wry"], str.casefold)
    assert [(request.style, dict(request.about)) for request in found.requests] == [
        ("wry", {}),
        ("wry", {"reference": "r"}),
    ]


def test_two_pictures_of_one_name_are_told_apart_by_their_paths():
    one, other, third = (WantedPicture(name, Path(path), "") for name, path in [("a", "a"), ("a", "l/a"), ("b", "l/b")])
    assert [picture.name for picture in merged([one, other, third, one])] == ["a", str(Path("l/a")), "b"]


def test_file_of_a_hash_is_found_whatever_the_case_of_its_suffix(tmp_path):
    for name in ("in/1f.JPEG", "2e.PNG", "2e.jpg", "3d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    rows = b"".join(b'{"image_hash": "%s"}\n' % stem for stem in (b"in/1f", b"2e", b"3d", b"4c"))
    assert [picture.name for picture in read_list(rows, "l", tmp_path)] == ["in/1f.JPEG", "2e.jpg", "3d", "4c.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="it is there")
def test_share_of_windows_in_a_list_is_a_picture_that_is_not_there(tmp_path):
    (found,) = read_list(b"\\\\server\\share\\a.jpg", "l", tmp_path)
    assert (found.name, found.below) == ("\\\\server\\share\\a.jpg", "a.jpg")


def test_folder_below_that_cannot_be_listed_is_told_and_the_rest_goes_on(photos, monkeypatch):
    scandir = os.scandir

    def refuse(folder: Path):
        if Path(folder).name == "deep":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_pictures([photos])
    assert [(picture.name, picture.below) for picture in found] == [
        (str(photos / name), name) for name in ("a.JPG", "b.png", "deep")
    ]
    with pytest.raises(PermissionError, match="deep"):
        find_pictures([photos / "deep"])


def test_pictures_of_a_folder_share_what_is_asked_of_them(photos):
    first, *others = in_styles(find_pictures([photos]), ["wry", "calm"], str.casefold)
    assert first.styles() == ("wry", "calm")
    assert all(picture.requests is first.requests for picture in others)
