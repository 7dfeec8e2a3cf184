"""A data format is one file and one entry: configuration, reader and runs follow."""

from __future__ import annotations

import pytest

from configuration.loading import load_config
from pipeline.data import read_split
from preprocessors.formats.rows import AnnotationRow, Format, Source
from preprocessors.formats.table import FORMATS
from preprocessors.readers import read_examples
from utils.io import write_json


def toy_rows(source: Source):
    """Lines of ``picture|style|caption``."""
    for number, line in enumerate(source.path.read_text().splitlines(), start=1):
        image, style, caption = line.split("|")
        yield AnnotationRow(str(source.path), number, image + source.image_suffix, {style: (caption,)})


@pytest.fixture
def toy(monkeypatch, scenes, tmp_path):
    """Annotations of a toy format, whose pictures are those of the scenes."""
    toy_format = Format(toy_rows, "{split}.toy", "toys", settings=frozenset({"val"}))
    monkeypatch.setitem(FORMATS, "toy", toy_format)
    names = sorted(path.stem for path in (scenes / "images").glob("*"))[:3]
    for split in ("train", "val"):
        (tmp_path / f"{split}.toy").write_text("".join(f"{name}|calm|a thing on paper\n" for name in names))
    return names


def test_new_format_is_read_and_taken_by_the_configuration(toy, scenes, tmp_path):
    data = {"format": "toy", "annotations": str(tmp_path), "images": str(scenes / "images"), "image_suffix": ".png"}
    write_json(tmp_path / "conf.json", {"model": {"preset": "nano"}, "data": data})
    split = read_split(load_config(tmp_path / "conf.json"), "train")
    assert [example.example_id for example in split.examples] == [f"{name}.png#calm" for name in toy]
    assert split.split_id == "toys/train.toy"

    whole = tmp_path / "val.toy"
    places = {"annotations": whole, "images": scenes / "images", "image_suffix": ".png", "on_bad_image": "ignore"}
    divided = read_examples("toy", split_name="train", split="hash", **places)
    assert divided.split_id == "toys/hash-sha256-80-10-10"
    with pytest.raises(ValueError, match="data.format=toy has no Flickr8k split"):
        read_examples("toy", split_name="train", split="flickr8k", **places)


def test_settings_of_other_formats_are_refused_and_the_name_is_in_messages(toy, tmp_path):
    data = {"format": "toy", "annotations": "a", "images": "b", "train": "t", "val": "v", "split": "flickr8k"}
    write_json(tmp_path / "conf.json", {"model": {"preset": "nano"}, "data": data})
    with pytest.raises(ValueError, match="2 faults") as caught:
        load_config(tmp_path / "conf.json")
    assert 'data.train="t": only used with' in str(caught.value)
    assert 'data.split="flickr8k": flickr8k divides data.format' in str(caught.value)
    write_json(tmp_path / "conf.json", {"model": {"preset": "nano"}, "data": data | {"format": "toyy"}})
    with pytest.raises(ValueError, match="unknown data format; did you mean toy"):
        load_config(tmp_path / "conf.json")
