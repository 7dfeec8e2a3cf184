import json
import logging
from pathlib import Path

import pytest

from pipeline.data import read_split
from pipeline.overlap import Overlap, check_overlap, count_overlap, find_overlap, tell_overlap
from pipeline.streaming import read_training
from preprocessors.examples import CaptionExample, make_example_id
from tests.container_files import picture_bytes, shard_of, write_tar, write_tsv


def example(picture: Path, style: str, *captions: str) -> CaptionExample:
    return CaptionExample(make_example_id(picture.name, style), picture, style, captions)


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """Files by name: b_copy has b's bytes, c_other c's size, gone is not there, and two are empty."""
    content = {"a": "aaaa", "b": "bbbb", "b_copy": "bbbb", "c": "cc", "c_other": "cd", "d": "ddd", "e": "", "e_too": ""}
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    return {name: tmp_path / name for name in [*content, "gone"]}


def test_count_overlap_counts_pictures_once_by_name_and_by_bytes_and_captions_by_example(pictures):
    train = [
        example(pictures["a"], "calm", "one", "two"),
        example(pictures["a"], "wry", "three"),
        example(pictures["b_copy"], "calm", "four"),
        example(pictures["c_other"], "calm", "five"),
        example(pictures["e_too"], "calm", "six"),
        example(pictures["gone"], "calm", "seven"),
    ]
    tested = [
        example(pictures["d"], "calm", "new"),
        example(pictures["b"], "calm", "newer", "three"),
        example(pictures["b"], "wry", "Three"),
        example(pictures["a"], "calm", "newest"),
        example(pictures["a"], "wry", "two"),
        example(pictures["c"], "calm"),
        example(pictures["e"], "calm", "of an empty file"),
    ]
    found = count_overlap(train, tested)
    assert found == Overlap(pictures=5, same_file=1, same_content=1, examples=7, same_caption=2, first="b")
    assert found.describe("test") == (
        "test: 2 of 5 pictures are training pictures (1 the same file, 1 the same bytes under another name; the first: "
        "b); 2 of 7 examples have a caption of a training row; what is measured on them is memory too"
    )


def test_count_overlap_of_separate_splits_says_nothing(pictures, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)
    found = count_overlap([example(pictures["a"], "calm", "one")], [example(pictures["b"], "calm", "two")])
    assert found == Overlap(1, 0, 0, 1, 0, "")
    tell_overlap("val", found)
    assert caplog.records == []
    tell_overlap("val", found._replace(same_caption=1))
    tell_overlap("val", found._replace(same_content=1, first="b"))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


@pytest.mark.parametrize("name", ["webdataset", "ofa_tsv", "hf_datasets"])
def test_count_overlap_finds_copies_inside_containers(name: str, load, tmp_path: Path):
    numbers = {"train": [1, 2, 3], "val": [9, 2, 3]}
    for split, shown in numbers.items():
        pictures = [picture_bytes(number) for number in shown]
        if name == "webdataset":
            write_tar(tmp_path / f"{split}.tar", shard_of(shown[:1]) | shard_of(shown[1:], f"{split} {{}}"))
        elif name == "ofa_tsv":
            write_tsv(tmp_path / f"{split}.tsv", [(f"{split}{n}", "x", each) for n, each in enumerate(pictures)])
        else:
            parquet = pytest.importorskip("pyarrow.parquet")
            arrow = pytest.importorskip("pyarrow")
            table = arrow.table({"image": pictures, "text": [f"{split} {n}" for n in shown]})
            parquet.write_table(table, tmp_path / f"{split}.parquet", row_group_size=len(split) - 1)
    config = load(data={"format": name, "annotations": str(tmp_path)}).data
    train, val = (read_split(config, part, check_pictures=False) for part in ("train", "val"))
    assert count_overlap(train.examples, val.examples)[:3] == (3, 0, 2)


def test_picture_in_two_parts_is_an_error_for_the_published_split_alone(load, tmp_path: Path):
    names = {"a.png": "train", "b.png": "dev", "c.png": "train", "d.png": "dev"}
    rows = [
        {"image": name, "flickr8k_split": split, "humorous": f"h {name}", "romantic": f"r {name}", "factual": "f"}
        for name, split in names.items()
    ]
    (tmp_path / "captions.json").write_text(json.dumps(rows))
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / "d.png").write_text("a.png")
    data = {"format": "flickrstyle", "annotations": str(tmp_path), "images": str(tmp_path)}
    config = load(data=data).data
    train, val = (read_split(config, name, check_pictures=False) for name in ("train", "val"))
    found = count_overlap(train.examples, val.examples)
    assert found[:3] == (2, 0, 1)
    message = r"^flickrstyle/flickr8k: val: 1 of 2 pictures .* the first: d\.png.*data\.split=hash"
    with pytest.raises(ValueError, match=message):
        check_overlap(config, "val", val.split_id, found)
    check_overlap(config, "val", val.split_id, found._replace(same_content=0))
    check_overlap(load(data=data | {"split": "hash"}).data, "val", "", found)
    check_overlap(load(data=data | {"split": "held_out"}).data, "val", "", found)
    check_overlap(load(data=data | {"format": "jsonl"}).data, "val", "", found)


def test_flickrstyle_as_published_shares_no_picture(load, shared: Path):
    folder = shared / "data" / "flickrstyle"
    data = {"format": "flickrstyle", "annotations": str(folder), "images": str(folder / "photos_160")}
    config = load(data=data).data
    train, val = (read_split(config, name, check_pictures=False).examples for name in ("train", "val"))
    found = count_overlap(train, val)
    assert (found.pictures, found.same_file, found.same_content, found.examples) == (1000, 0, 0, 3000)
    trained = {caption for item in train for caption in item.captions}
    assert found.same_caption == sum(not trained.isdisjoint(item.captions) for item in val)


def test_overlap_with_streamed_shards_says_that_only_the_first_was_looked_at(load, tmp_path: Path):
    for number in range(8):
        write_tar(tmp_path / f"train-{number}.tar", shard_of([number]))
    write_tar(tmp_path / "val.tar", shard_of([0, 1]))
    data = {"format": "webdataset", "annotations": str(tmp_path), "streaming": True}
    config = load(data=data, train={"steps": 1}).data
    train, val = read_training(config), read_split(config, "val")
    found = find_overlap(config, "val", train, val)
    assert (found.same_content, found.is_of_sample) == (1, True)
    assert found.describe("val").endswith("memory too; only the first training shard was looked at")
