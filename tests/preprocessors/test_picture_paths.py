import os
from pathlib import Path

import pytest

from preprocessors.formats.rows import AnnotationRow
from preprocessors.picture_paths import PicturePaths
from preprocessors.readers import read_examples


def row_of(image: str, number: int = 7) -> AnnotationRow:
    return AnnotationRow("train.jsonl", number, image, {"calm": ("x",)})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Pictures, with links that stay inside and links that lead out of the folder."""
    folder, other = tmp_path / "images", tmp_path / "images_of_others"
    for place in (folder / "sub", other):
        place.mkdir(parents=True)
    for place in (folder / "a.png", folder / "sub/b.png", other / "secret.png"):
        place.touch()
    (folder / "inside.png").symlink_to("sub/b.png")
    (folder / "outside.png").symlink_to(other / "secret.png")
    (folder / "linked").symlink_to(other)
    (folder / "again").symlink_to("sub")
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    return folder


@pytest.mark.parametrize("image", ["a.png", "sub/b.png", "sub/../a.png", "inside.png", "again/b.png", "./a.png"])
def test_picture_inside_is_found(images: Path, image: str):
    assert PicturePaths(images).find(row_of(image)) == row_of(image)


@pytest.mark.parametrize("image", ["outside.png", "linked/secret.png", "../images_of_others/secret.png", "absolute"])
def test_picture_outside_is_refused_with_its_row_unless_allowed(images: Path, image: str):
    image = str(images.parent / "images_of_others/secret.png") if image == "absolute" else image
    with pytest.raises(
        ValueError, match=r"^train\.jsonl, row 7: the picture .* lies outside .*data\.allow_outside=true"
    ):
        PicturePaths(images).find(row_of(image))
    assert PicturePaths(images, allow_outside=True).find(row_of(image)) == row_of(image)


@pytest.mark.parametrize("image", ["/etc/passwd", "../gone.png", "sub/../../gone.png"])
def test_name_that_leads_outside_is_refused_where_nobody_looks_for_pictures(images: Path, image: str):
    with pytest.raises(ValueError, match=r"row 7: .* lies outside"):
        PicturePaths(images).check_name(row_of(image))
    PicturePaths(images).check_name(row_of("a..png"))
    PicturePaths(images).check_name(row_of(str(images / "gone.png")))


@pytest.mark.parametrize("image", ["gone.png", "nowhere/a.png", "sub\\gone.png"])
def test_what_is_not_there_is_not_found(images: Path, image: str):
    assert PicturePaths(images).find(row_of(image)) is None


@pytest.mark.parametrize("image", ["sub", "loop.png", "pipe.png"])
def test_what_is_no_file_is_left_for_opening_to_name(images: Path, image: str):
    assert PicturePaths(images, allow_outside=True).find(row_of(image)) == row_of(image)


def test_folder_of_pictures_that_is_a_link_itself_is_the_root(images: Path, tmp_path: Path):
    (tmp_path / "shown").symlink_to(images)
    assert PicturePaths(tmp_path / "shown").find(row_of("sub/b.png")) == row_of("sub/b.png")


def test_backslashes_are_slashes_where_no_file_has_them(images: Path):
    assert PicturePaths(images).find(row_of("sub\\b.png")) == row_of("sub/b.png")
    (images / "sub\\b.png").touch()
    assert PicturePaths(images).find(row_of("sub\\b.png")) == row_of("sub\\b.png")
    with pytest.raises(ValueError, match="lies outside"):
        PicturePaths(images).find(row_of("..\\images_of_others\\secret.png"))


def test_reader_refuses_and_allows_pictures_outside(images: Path, tmp_path: Path):
    lines = (
        '{"image": "a.png", "style": "s", "captions": "x"}\n{"image": "outside.png", "style": "s", "captions": "y"}\n'
    )
    (tmp_path / "train.jsonl").write_text(lines)
    places = {"annotations": tmp_path, "images": images, "split_name": "train"}
    for policy in ("error", "skip"):
        with pytest.raises(ValueError, match=r"train\.jsonl, row 2: the picture 'outside\.png' lies outside"):
            read_examples("jsonl", **places, on_bad_image=policy, on_bad_row=policy)
    assert len(read_examples("jsonl", **places, allow_outside=True).examples) == 2
