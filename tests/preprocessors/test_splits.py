"""How one file is divided, and what a split without captions is."""

import json
from pathlib import Path

import pytest

from preprocessors.readers import NoRows, hash_split, held_out_split, read_examples


def test_hash_split_published_pictures_stay_where_they_were():
    """First eight digits of sha256sum, modulo 100: 1.jpg 79, 13.jpg 85, 15.jpg 92; published numbers rest on it."""
    found = {name: hash_split(name) for name in ("0.jpg", "1.jpg", "13.jpg", "17.jpg", "15.jpg", "22.jpg")}
    assert list(found.values()) == ["train", "train", "val", "val", "test", "test"]


def test_hash_split_salt_names_another_division_that_anybody_can_repeat():
    """The same of fold-2/1.jpg 12, fold-2/5.jpg 99, fold-2/9.jpg 83, fold-2/13.jpg 57."""
    assert [hash_split(f"{number}.jpg", "fold-2") for number in (1, 5, 9, 13)] == ["train", "test", "val", "train"]
    names = [f"{number}.jpg" for number in range(3000)]
    divisions = {salt: [hash_split(name, salt) for name in names] for salt in (None, "fold-1", "fold-2")}
    for one in divisions.values():
        assert 2300 < one.count("train") < 2500
        assert 240 < one.count("val") < 360
    # Independent divisions agree on 0.8^2 + 0.1^2 + 0.1^2 of the pictures.
    pairs = [(None, "fold-1"), (None, "fold-2"), ("fold-1", "fold-2")]
    for a, b in pairs:
        agreement = sum(x == y for x, y in zip(divisions[a], divisions[b], strict=True)) / len(names)
        assert agreement == pytest.approx(0.66, abs=0.03)
    held = [held_out_split(name, "train", "fold-1") for name in names]
    assert [name == "val" for name in held] == [name == "val" for name in divisions["fold-1"]]


def test_hash_split_of_a_name_from_windows_is_that_of_its_last_part(tmp_path: Path):
    names = [f"{number}.jpg" for number in range(40)]
    rows = [{"image": f"C\\photos\\{name}", "style": "s", "captions": "x"} for name in names]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    places = {"annotations": tmp_path / "all.jsonl", "images": tmp_path, "split": "hash", "on_bad_image": "ignore"}
    for split_name in ("train", "val", "test"):
        found = read_examples("jsonl", **places, split_name=split_name).examples
        expected = [name for name in names if hash_split(name) == split_name]
        assert [example.image_name.rpartition("\\")[2] for example in found] == expected
    salted = read_examples("jsonl", **places, split_name="train", split_salt="fold-2")
    assert salted.split_id == "jsonl/hash-sha256-80-10-10-salt-fold-2"
    assert len(salted.examples) == sum(hash_split(name, "fold-2") == "train" for name in names)


def test_split_salt_without_a_hash_is_refused(faults):
    data = {"format": "jsonl", "annotations": "a", "images": "b", "split_salt": "fold-2"}
    (line,) = faults(data=data)
    assert line == 'conf.json: data.split_salt="fold-2": only used with data.split hash or held_out; remove it'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abc":
        (tmp_path / f"{name}.png").touch()
    return tmp_path


def write(folder: Path, file: str, captions: list) -> None:
    rows = [{"image": f"{name}.png", "style": "s", "captions": own} for name, own in zip("abc", captions, strict=False)]
    (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_test_split_may_be_without_captions_and_no_other(folder: Path):
    for name in ("train", "val", "test"):
        write(folder, f"{name}.jsonl", [[], []])
    places = {"annotations": folder, "images": folder}
    hidden = read_examples("jsonl", **places, split_name="test")
    assert not hidden.has_captions
    assert [(example.example_id, example.captions) for example in hidden.examples] == [("a.png#s", ()), ("b.png#s", ())]
    for name in ("train", "val"):
        with pytest.raises(
            ValueError, match=rf"{name}\.jsonl, row 1: no caption in style 's'; only a test split may be"
        ):
            read_examples("jsonl", **places, split_name=name)


def test_test_split_with_captions_in_some_rows_only_is_an_error_or_leaves_the_others_out(folder: Path):
    write(folder, "test.jsonl", [["x"], [], ["z"]])
    places = {"annotations": folder, "images": folder, "split_name": "test"}
    with pytest.raises(ValueError, match=r"test\.jsonl, row 2: no caption in style 's', and other rows .* have some"):
        read_examples("jsonl", **places)
    result = read_examples("jsonl", **places, on_bad_row="skip")
    assert result.has_captions
    assert [example.image_name for example in result.examples] == ["a.png", "c.png"]
    assert [(row.row, row.reason) for row in result.dropped] == [(2, "no caption")]


def test_split_without_rows_is_told_from_other_faults(folder: Path):
    row = {"image": "a.png", "humorous": "h", "romantic": "r", "factual": "f", "flickr8k_split": "dev"}
    (folder / "captions.json").write_text(json.dumps([row]))
    with pytest.raises(NoRows, match=r"has no rows for 'train' \(rows: val 1\)"):
        read_examples("flickrstyle", annotations=folder, images=folder, split_name="train")
