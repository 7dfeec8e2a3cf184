"""Formats that hold their pictures: OFA's TSV, WebDataset, folders of pictures, tables of Hugging Face's datasets."""

from __future__ import annotations

import builtins
import json
import logging
import os

import pytest

from configuration.loading import load_config
from pipeline.data import read_split
from preprocessors.pictures.files import open_picture, stat_picture
from preprocessors.pictures.images import load_image, verify_images
from preprocessors.readers import read_examples
from tests.container_files import picture_bytes, shard_of, write_tar, write_tsv
from utils.io import write_json


def read(format, annotations, split_name="train", **settings):
    return read_examples(format, annotations=annotations, images=annotations, split_name=split_name, **settings)


def captions_by_id(result):
    return {example.example_id: example.captions for example in result.examples}


def colours(result):
    """The red of each picture, by which the tests number them."""
    return [load_image(example.image_path).getpixel((0, 0))[0] for example in result.examples]


def read_configured(tmp_path, **data):
    write_json(tmp_path / "conf.json", {"model": {"preset": "nano"}, "data": data})
    return read_split(load_config(tmp_path / "conf.json").data, "train")


# OFA's TSV


def test_ofa_tsv_rows_of_one_image_become_one_example(tmp_path):
    rows = [
        ("11", "a dog", picture_bytes(1)),
        ("12", "a cat&& two  &&", picture_bytes(2)),
        ("11", "b", picture_bytes(1)),
    ]
    write_tsv(tmp_path / "caption_stage1_train.tsv", rows)
    found = read("ofa_tsv", tmp_path)
    name = "caption_stage1_train.tsv"
    assert captions_by_id(found) == {f"{name}/11#neutral": ("a dog", "b"), f"{name}/12#neutral": ("a cat", "two")}
    assert [example.image_path for example in found.examples] == [tmp_path / name / "11", tmp_path / name / "12"]
    assert colours(found) == [1, 2]
    assert found.split_id == "ofa_tsv/caption_stage1_train.tsv"


def test_ofa_tsv_with_a_column_of_styles_is_taken_by_the_configuration(tmp_path):
    rows = [("11", "a dog", picture_bytes(1)), ("11", "a good boy", picture_bytes(1))]
    write_tsv(tmp_path / "train.tsv", rows, "calm", "sweet")
    found = read_configured(tmp_path, format="ofa_tsv", annotations=str(tmp_path))
    assert captions_by_id(found) == {"train.tsv/11#calm": ("a dog",), "train.tsv/11#sweet": ("a good boy",)}
    with pytest.raises(ValueError, match="data.images=.*format=ofa_tsv has its pictures where its annotations are"):
        read_configured(tmp_path, format="ofa_tsv", annotations=str(tmp_path), images="a")


def test_ofa_tsv_is_divided_by_image_id(tmp_path):
    rows = [(str(number), "a", picture_bytes(number)) for number in range(60)]
    whole = write_tsv(tmp_path / "all.tsv", [*rows, *rows])
    parts = [
        {e.image_path.name for e in read("ofa_tsv", whole, part, split="hash").examples} for part in ("train", "val")
    ]
    assert not parts[0] & parts[1]
    assert parts[0]
    assert parts[1]


@pytest.mark.parametrize(
    ("rows", "styles", "message"),
    [
        ([("1", " && ", b"x")], (), r"train.tsv, row 1: no caption in style 'neutral'"),
        ([("1", "a", b"x"), ("1", "b", b"other")], (), r"row 2: image-id '1' has another picture than in row 1"),
        ([("1", "a", b"x")], (" ",), r"row 1: the style is blank"),
    ],
)
def test_ofa_tsv_names_the_row_at_fault(tmp_path, rows, styles, message):
    write_tsv(tmp_path / "train.tsv", rows, *styles)
    with pytest.raises(ValueError, match=message):
        read("ofa_tsv", tmp_path)


def test_ofa_tsv_with_bad_base64_is_left_out_by_policy(tmp_path):
    file = write_tsv(tmp_path / "train.tsv", [("1", "a", picture_bytes(1)), ("2", "b", picture_bytes(2))])
    file.write_text(file.read_text().replace("sky&&sea\tiVBO", "sky&&sea\ti*BO", 1))
    data = {"format": "ofa_tsv", "annotations": str(tmp_path)}
    with pytest.raises(ValueError, match=r"train.tsv, row 1: .*bad base64"):
        read_configured(tmp_path, **data)
    found = read_configured(tmp_path, **data, on_bad_image="skip")
    assert (len(found.examples), [row.row for row in found.dropped]) == (1, [1])


# WebDataset


def test_webdataset_shards_are_read_with_their_pictures(tmp_path):
    write_tar(tmp_path / "train-0.tar", shard_of([3, 1]))
    write_tar(tmp_path / "train-1.tar", shard_of([2]))
    found = read_configured(tmp_path, format="webdataset", annotations=str(tmp_path), train="train-{0..1}.tar")
    assert captions_by_id(found) == {
        "train-0.tar/000003.png#neutral": ("picture 3",),
        "train-0.tar/000001.png#neutral": ("picture 1",),
        "train-1.tar/000002.png#neutral": ("picture 2",),
    }
    assert colours(found) == [3, 1, 2]
    assert found.examples[2].where == f"{tmp_path}/train-1.tar, row 1"


def test_webdataset_texts_of_a_sample_go_together(tmp_path):
    members = {
        "./a.v1.jpg": b"j",
        "./a.JSON": b'{"caption": "not this", "style": "calm", "width": 3}',
        "./a.txt": b"one\r\n\n two \n",
        "in/b.png": b"p",
        "in/b.json": b'["x", "y"]',
        "in/b.cls": b"sweet\n",
        "c.png": b"p",
        "c.json": b'{"text": "z", "style": null, "caption": null}',
        "._c.png": b"hidden",
    }
    write_tar(tmp_path / "train.tar", members)
    with pytest.raises(ValueError, match="no row of 'train' is left|sample without"):
        read("webdataset", write_tar(tmp_path / "no" / "train.tar", {"a.txt": b"b"}).parent)
    found = read("webdataset", tmp_path)
    # "a.v1.jpg" ends in "v1.jpg", which is no picture: the sample has none.
    assert [(row.reason, row.detail) for row in found.dropped] == [("sample without a picture", "a")]
    assert captions_by_id(found) == {
        "train.tar/in/b.png#sweet": ("x", "y"),
        "train.tar/c.png#neutral": ("z",),
    }
    members["./a.jpg"] = members.pop("./a.v1.jpg")
    reordered = {"./a.jpg": b"j", **members}
    write_tar(tmp_path / "train.tar", reordered)
    assert captions_by_id(read("webdataset", tmp_path))["train.tar/a.jpg#calm"] == ("one", "two")


def test_webdataset_samples_without_a_part_are_counted(tmp_path):
    write_tar(tmp_path / "train.tar", {"a.png": b"p", "b.txt": b"text", **shard_of([4])})
    found = read("webdataset", tmp_path)
    assert [(row.row, row.reason) for row in found.dropped] == [
        (1, "picture without a caption"),
        (2, "sample without a picture"),
    ]
    assert colours(found) == [4]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"p", "a.txt": b" \n"}, r"train.tar, row 1: no caption in style 'neutral'; only a test split may"),
        ({"a.png": b"p", "a.txt": b"\xff"}, r"sample a, .txt: not UTF-8"),
        ({"a.png": b"p", "a.json": b"{"}, r"sample a, .json, line 1, column \d: not valid JSON"),
        ({"a.png": b"p", "a.json": b'{"caption": 3}'}, r"sample a: 'caption' must be text, got 3"),
        ({"a.png": b"p", "A.txt": b"t", "a.txt": b"t", "./a.txt": b"t"}, r"sample a has two files .txt"),
    ],
)
def test_webdataset_names_the_sample_at_fault(tmp_path, members, message):
    write_tar(tmp_path / "train.tar", members)
    with pytest.raises(ValueError, match=message):
        read("webdataset", tmp_path)


def test_webdataset_shard_that_is_cut_short_is_named(tmp_path):
    shard = write_tar(tmp_path / "train.tar", shard_of(range(5)))
    shard.write_bytes(shard.read_bytes()[:4000])
    with pytest.raises(ValueError, match=r"train.tar: the tar is damaged or cut short after \d files"):
        read("webdataset", tmp_path)


# A folder of pictures


@pytest.fixture
def folder(tmp_path):
    """Pictures 1 to 4 with captions in all four ways, picture 5 without any."""
    root = tmp_path / "set"
    (root / "train" / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(("1.png", "2.PNG", "deep/3.png", "deep/er/4.png", "5.png"), start=1):
        (root / "train" / name).write_bytes(picture_bytes(number))
    (root / "train" / "1.txt").write_text("one\nand one\n")
    (root / "train" / "2.json").write_text('{"caption": "two", "style": "calm"}')
    lines = [{"file_name": "3.png", "text": "three"}, {"file_name": "er/4.png", "text": "four", "style": "calm"}]
    (root / "train" / "deep" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def test_image_folder_is_read_with_captions_from_everywhere(folder, tmp_path):
    found = read_configured(tmp_path, format="image_folder", annotations=str(folder))
    assert captions_by_id(found) == {
        "train/1.png#neutral": ("one", "and one"),
        "train/2.PNG#calm": ("two",),
        "train/deep/3.png#neutral": ("three",),
        "train/deep/er/4.png#calm": ("four",),
    }
    assert colours(found) == [1, 2, 3, 4]
    assert [(row.reason, row.detail) for row in found.dropped] == [("picture without a caption", "train/5.png")]
    assert found.split_id == "image_folder/train"


def test_image_folder_with_metadata_csv_names_a_picture_that_is_missing(folder):
    (folder / "train" / "deep" / "metadata.jsonl").unlink()
    table = folder / "train" / "metadata.csv"
    table.write_text('﻿file_name,text,style\r\n5.png,"five, ""really""",\r\n9.png,nine,calm\r\n', encoding="utf-8")
    with pytest.raises(FileNotFoundError, match=r"metadata.csv, row 3: no picture .*train/9.png"):
        read("image_folder", folder)
    found = read("image_folder", folder, on_bad_image="skip")
    assert captions_by_id(found)["train/5.png#neutral"] == ('five, "really"',)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('file_name,text\n5.png,"five\n', r"metadata.csv, row 2: a double quote that is opened here is not closed"),
        ("file_name,text\n5.png,five,six\n", r"row 2: has 3 fields, but the header names 2 columns"),
        ("file_name,text\n5.png\n", r"row 2: has 1 fields, but the header names 2 columns"),
        ("name,text\n5.png,five\n", r"row 2: 'file_name' is missing"),
        ("file_name,text\n5.png,\n", r"row 2: no caption in style 'neutral'"),
    ],
)
def test_image_folder_with_bad_metadata_names_the_row(folder, content, message):
    (folder / "train" / "metadata.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        read("image_folder", folder)


def test_image_folder_leaves_a_loop_of_links_and_refuses_a_pipe(folder, caplog):
    (folder / "train" / "deep" / "up").symlink_to(folder / "train", target_is_directory=True)
    (folder / "train" / "self").symlink_to("self")
    (folder / "train" / "self.png").symlink_to("self.png")
    (folder / "train" / "self.txt").write_text("a loop")
    with caplog.at_level(logging.WARNING):
        found = read("image_folder", folder)
    with pytest.raises(ValueError, match=r"self.txt, row 1: .*a symbolic link that leads in a circle.*1 of 5"):
        verify_images(found.examples, "error")
    assert "deep/up: a link to a folder above it; left out" in caplog.text
    (folder / "train" / "self.png").unlink()
    os.mkfifo(folder / "train" / "self.png")
    found = read("image_folder", folder)
    with pytest.raises(ValueError, match=r"self.txt, row 1: .*train/self.png: .*a named pipe.*1 of 5"):
        verify_images(found.examples, "error")
    kept, dropped = verify_images(found.examples, "skip")
    assert len(kept) == 4
    assert len(dropped) == 1


def test_image_folder_finds_its_splits(folder):
    (folder / "validation").mkdir()
    (folder / "validation" / "1.png").write_bytes(picture_bytes(1))
    (folder / "validation" / "1.txt").write_text("one")
    assert list(captions_by_id(read("image_folder", folder, "val"))) == ["validation/1.png#neutral"]
    with pytest.raises(FileNotFoundError, match="has no folder test. Name it with data.test, or set data.split=hash"):
        read("image_folder", folder, "test")
    parts = [read("image_folder", folder, part, split="hash").examples for part in ("train", "val")]
    assert sum(map(len, parts)) <= 5
    with pytest.raises(FileNotFoundError, match="folder of pictures not found"):
        read("image_folder", folder / "none")


# Tables of Hugging Face's datasets


def test_hf_datasets_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    genuine = builtins.__import__

    def without_pyarrow(name, *arguments, **named):
        if name.partition(".")[0] == "pyarrow":
            raise ImportError(name)
        return genuine(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_pyarrow)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"train.parquet: .* need pyarrow; install it: pip install pyarrow"):
        read("hf_datasets", tmp_path)


@pytest.fixture
def table():
    """Five rows as ``datasets`` keeps pictures."""
    arrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install pyarrow")
    rows = [
        {"image": {"bytes": picture_bytes(number), "path": f"{number}.png"}, "text": [f"a {number}"], "style": style}
        for number, style in enumerate(("calm", "sweet", None, "calm", "calm"), start=1)
    ]
    return arrow.Table.from_pylist(rows)


def test_hf_datasets_in_parquet_are_read_by_row_groups(tmp_path, table):
    from pyarrow import parquet

    (tmp_path / "data").mkdir()
    parquet.write_table(table, tmp_path / "data" / "train-00000-of-00001.parquet", row_group_size=2)
    found = read_configured(tmp_path, format="hf_datasets", annotations=str(tmp_path))
    name = "data/train-00000-of-00001.parquet"
    assert captions_by_id(found) == {
        f"{name}/{row}#{style}": (f"a {row}",)
        for row, style in enumerate(("calm", "sweet", "neutral", "calm", "calm"), start=1)
    }
    assert colours(found) == [1, 2, 3, 4, 5]
    assert stat_picture(tmp_path / name / "5").size < stat_picture(tmp_path / name / "4").size
    for missing in ("0", "6", "x", "-1"):
        with pytest.raises(FileNotFoundError, match=f"holds no '{missing}'"):
            open_picture(tmp_path / name / missing)


def test_hf_datasets_are_read_in_workers_of_a_process_that_read_them(tmp_path, table):
    from pyarrow import parquet
    from torch.utils.data import DataLoader

    parquet.write_table(table, tmp_path / "train.parquet", row_group_size=2)
    places = [tmp_path / "train.parquet" / str(row) for row in range(1, 6)]
    here = [open_picture(place).read() for place in places]
    assert here == [picture_bytes(number) for number in range(1, 6)]
    loader = DataLoader(PicturesAt(places), batch_size=None, num_workers=2, timeout=20)
    assert list(loader) == here


class PicturesAt:
    """Bytes of pictures as a data set."""

    def __init__(self, places):
        self.places = places

    def __len__(self):
        return len(self.places)

    def __getitem__(self, row):
        return open_picture(self.places[row]).read()


@pytest.mark.parametrize("opened", ["new_stream", "new_file"])
def test_hf_datasets_that_were_saved_to_disk_are_read(tmp_path, table, opened):
    import pyarrow

    (tmp_path / "train").mkdir()
    place = tmp_path / "train" / "data-00000-of-00001.arrow"
    with getattr(pyarrow.ipc, opened)(str(place), table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    assert colours(read("hf_datasets", tmp_path)) == [1, 2, 3, 4, 5]


def test_hf_datasets_that_are_none_are_named(tmp_path, table):
    from pyarrow import parquet

    place = tmp_path / "train.parquet"
    place.write_bytes(b"not a table")
    with pytest.raises(ValueError, match=r"train.parquet: is no parquet file, or is damaged or cut short"):
        read("hf_datasets", tmp_path)
    parquet.write_table(table.drop_columns(["text"]), place)
    with pytest.raises(ValueError, match=r"train.parquet: no column of captions .* its columns: image, style"):
        read("hf_datasets", tmp_path)
    parquet.write_table(table.drop_columns(["image"]), place)
    with pytest.raises(ValueError, match=r"no column of pictures \(image, .*its columns: text, style"):
        read("hf_datasets", tmp_path)
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged or cut short"):
        read("hf_datasets", tmp_path)
    (tmp_path / "train.parquet").unlink()
    (tmp_path / "train.arrow").write_bytes(b"neither")
    with pytest.raises(ValueError, match="is no arrow file"):
        read("hf_datasets", tmp_path)
