"""Formats that hold their pictures, and FlickrStyle10K's release: bad rows left out, test splits without captions."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from preprocessors.formats import hf_datasets
from preprocessors.formats.bad_rows import BAD_ROW
from preprocessors.pictures.images import load_image
from preprocessors.readers import ReadResult, read_examples
from tests.container_files import picture_bytes, shard_of, write_tar, write_tsv


def read(format: str, folder: Path, split_name: str = "train", **settings: Any) -> ReadResult:
    return read_examples(format, annotations=folder, images=folder, split_name=split_name, **settings)


def captions(result: ReadResult) -> dict[str, tuple[str, ...]]:
    return {example.example_id: example.captions for example in result.examples}


def red(result: ReadResult) -> list[int]:
    return [load_image(example.image_path).getpixel((0, 0))[0] for example in result.examples]


def refused(result: ReadResult) -> list[tuple[str, int]]:
    return [(Path(row.source).name, row.row) for row in result.dropped]


def test_webdataset_leaves_out_the_bad_samples_alone(tmp_path: Path):
    bad = shard_of(range(6))
    bad["000001.txt"], bad["000003.txt"] = b"\xff", b" "
    bad["000004.txt"] = b"\xfe"
    write_tar(tmp_path / "train-0.tar", bad)
    write_tar(tmp_path / "train-1.tar", shard_of([8, 9]) | {"000009.txt": b"\xff"})
    with pytest.raises(ValueError, match=r"train-0.tar, sample 000001, .txt: not UTF-8"):
        read("webdataset", tmp_path)
    found = read("webdataset", tmp_path, on_bad_row="skip")
    assert red(found) == [0, 2, 5, 8]
    assert refused(found) == [("train-0.tar", 2), ("train-0.tar", 4), ("train-0.tar", 5), ("train-1.tar", 2)]
    assert [row.reason for row in found.dropped] == [BAD_ROW, "no caption", BAD_ROW, BAD_ROW]


def test_ofa_tsv_leaves_out_the_bad_rows_alone_and_keeps_each_picture_with_its_captions(tmp_path: Path):
    rows = [(str(number), f"caption {number}", picture_bytes(number)) for number in range(5)]
    rows[1] = ("1", " && ", picture_bytes(1))
    rows.append(("1", "of another picture", picture_bytes(1, "BMP")))
    rows.append(("1", "again", picture_bytes(1)))
    file = write_tsv(tmp_path / "train.tsv", rows)
    lines = file.read_bytes().split(b"\n")
    lines[2] = b"2\t2\tcut"
    lines[3] = lines[3].replace(b"caption", b"capti\xf6n")
    file.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match="no caption in style|has 3 columns"):
        read("ofa_tsv", tmp_path)
    found = read("ofa_tsv", tmp_path, on_bad_row="skip")
    assert captions(found) == {
        "train.tsv/0#neutral": ("caption 0",),
        "train.tsv/4#neutral": ("caption 4",),
        "train.tsv/1#neutral": ("again",),
    }
    assert red(found) == [0, 4, 1]
    assert refused(found) == [("train.tsv", row) for row in (2, 3, 4, 6)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train" / "deep").mkdir(parents=True)
    for number in range(5):
        (tmp_path / "train" / f"{number}.png").write_bytes(picture_bytes(number))
    for number in range(5, 9):
        (tmp_path / "train" / "deep" / f"{number}.png").write_bytes(picture_bytes(number))
    return tmp_path


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_image_folder_gives_no_picture_twice_behind_a_bad_row_of_metadata(folder: Path, form: str):
    """The pictures of rows before the bad one have a text beside them, which counts only without metadata."""
    rows: list[Any] = [{"file_name": f"{number}.png", "text": f"row {number}"} for number in range(5)]
    rows[2]["file_name"], rows[4]["file_name"] = " ", ".\\deep\\..\\4.png"
    for number in (0, 1, 5, 7):
        (folder / "train" / ("deep" if number > 4 else "") / f"{number}.txt").write_text(f"beside {number}")
    (folder / "train" / "deep" / "6.json").write_text("{")
    (folder / "train" / "deep" / "8.txt").write_bytes(b"\xff")
    lines = [json.dumps(row) for row in rows] if form == "jsonl" else [f"{r['file_name']},{r['text']}" for r in rows]
    lines.insert(1, "[3]" if form == "jsonl" else "one")
    head = [] if form == "jsonl" else ["file_name,text"]
    (folder / "train" / f"metadata.{form}").write_text("\n".join([*head, *lines]) + "\n")
    found = read("image_folder", folder, on_bad_row="skip")
    assert {Path(name).name: texts for name, texts in captions(found).items()} == {
        "0.png#neutral": ("row 0",),
        "1.png#neutral": ("row 1",),
        "3.png#neutral": ("row 3",),
        "4.png#neutral": ("row 4",),
        "5.png#neutral": ("beside 5",),
        "7.png#neutral": ("beside 7",),
    }
    unread = [Path(row.source).name for row in found.dropped if row.reason == BAD_ROW]
    assert unread == ["6.png", "8.png", f"metadata.{form}", f"metadata.{form}"]
    assert [Path(row.source).name for row in found.dropped if row.reason != BAD_ROW] == ["2.png"]


@pytest.mark.parametrize("layout", ["archive", "mirror"])
def test_flickrstyle_release_leaves_out_the_bad_lines_alone(tmp_path: Path, layout: str):
    names = ["a.jpg", "b.jpg", "c.jpg"]
    lines = {"funny": [b"fun a", b" ", b"\xff\xff\xff"], "romantic": [b"love a", b"love b", b""]}
    for name in names:
        (tmp_path / name).touch()
    for style, place in (("funny", "humor"), ("romantic", "romantic")):
        inner = tmp_path / place if layout == "archive" else tmp_path
        inner.mkdir(exist_ok=True)
        (inner / f"{style}_train.txt").write_bytes(b"\n".join(lines[style]) + b"\n")
        (inner / ("train.p" if layout == "archive" else "train_fu.p")).write_bytes(pickle.dumps(names, protocol=2))
        for split in ("train", "dev", "test"):
            (tmp_path / f"Flickr_8k.{split}Images.txt").write_text("\n".join(names) if split == "train" else "")
    with pytest.raises(ValueError, match=r"funny_train.txt, row 2: blank line.*data.on_bad_row=skip"):
        read("flickrstyle_release", tmp_path)
    found = read("flickrstyle_release", tmp_path, on_bad_row="skip")
    assert captions(found) == {
        "a.jpg#humorous": ("fun a",),
        "a.jpg#romantic": ("love a",),
        "b.jpg#romantic": ("love b",),
    }
    assert refused(found) == [("funny_train.txt", 2), ("funny_train.txt", 3), ("romantic_train.txt", 3)]


class Rows:
    """A table as pyarrow gives it."""

    def __init__(self, *rows: dict[str, Any]) -> None:
        self.rows, self.columns, self.starts = [*rows], [*rows[0]], [0, len(rows)]

    def bytes_of(self, group: int) -> int:
        return 0

    def read(self, group: int, columns: list[str]) -> list[dict[str, Any]]:
        return [{name: row[name] for name in columns} for row in self.rows]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(split: str, *rows: dict[str, Any]) -> None:
        (tmp_path / f"{split}.parquet").touch()
        monkeypatch.setattr(hf_datasets, "open_table", lambda path: Rows(*rows))

    return write


def test_hf_datasets_leave_out_the_bad_rows_alone(tmp_path: Path, table):
    table("train", *({"image": b"", "text": text} for text in ("a", 3, "", "b", "['c', 'd']")))
    with pytest.raises(ValueError, match="row 2: 'text' must be text, got 3"):
        read("hf_datasets", tmp_path, on_bad_image="ignore")
    found = read("hf_datasets", tmp_path, on_bad_image="ignore", on_bad_row="skip")
    assert [*captions(found).values()] == [("a",), ("b",), ("c", "d")]
    assert refused(found) == [("train.parquet", 2), ("train.parquet", 3)]


def write_test(format: str, folder: Path, table: Any, texts: tuple[str, ...]) -> None:
    """A test split of three pictures, of which the first so many have a caption."""
    numbers = range(1, 4)
    if format == "webdataset":
        members = shard_of(numbers)
        for number in [*numbers][len(texts) :]:
            del members[f"{number:06d}.txt"]
        write_tar(folder / "test.tar", members)
    elif format == "ofa_tsv":
        write_tsv(folder / "test.tsv", [(str(n), "".join(texts[n - 1 : n]), picture_bytes(n)) for n in numbers])
    elif format == "image_folder":
        (folder / "test").mkdir(exist_ok=True)
        for number in numbers:
            (folder / "test" / f"{number}.png").write_bytes(picture_bytes(number))
        for number, text in enumerate(texts, start=1):
            (folder / "test" / f"{number}.txt").write_text(text)
    else:
        padded = (*texts, None, None, None)
        table("test", *({"image": b""} | ({"text": padded[n - 1]} if texts else {}) for n in numbers))


CONTAINERS = ("webdataset", "ofa_tsv", "image_folder", "hf_datasets")


@pytest.mark.parametrize("format", CONTAINERS)
def test_test_split_without_captions_is_there_to_be_captioned(format: str, tmp_path: Path, table):
    write_test(format, tmp_path, table, ())
    found = read(format, tmp_path, "test", neutral="plain", on_bad_image="ignore")
    assert [(example.style, example.captions) for example in found.examples] == [("plain", ())] * 3
    assert not found.has_captions
    assert found.dropped == []


@pytest.mark.parametrize("format", CONTAINERS)
def test_of_a_test_split_with_captions_pictures_without_are_left_out_and_told(format: str, tmp_path: Path, table):
    write_test(format, tmp_path, table, ("one",))
    found = read(format, tmp_path, "test", on_bad_image="ignore", on_bad_row="skip")
    assert len(found.examples) == 1
    assert found.has_captions
    assert len(found.dropped) == 2
    if format in ("webdataset", "image_folder"):
        assert read(format, tmp_path, "test", on_bad_image="ignore").dropped == found.dropped
    else:
        with pytest.raises(ValueError, match="no caption in style 'neutral', and other rows of the split have some"):
            read(format, tmp_path, "test", on_bad_image="ignore")
