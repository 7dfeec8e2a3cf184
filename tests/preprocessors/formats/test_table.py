"""A data format is one file and one entry: configuration, reader and runs follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from configuration.loading import load_config
from pipeline.data import prepare_data, read_split
from preprocessors.formats.rows import AnnotationRow, Format, Generator, Source, file_per_split
from preprocessors.formats.table import FORMATS
from preprocessors.readers import read_examples
from utils.io import write_json


def toy_rows(source: Source):
    """Lines of ``picture|style|caption``, with ``|split`` after it in the toy format that carries one."""
    for number, line in enumerate(source.path.read_text().splitlines(), start=1):
        image, style, caption, *split = line.split("|")
        yield AnnotationRow(str(source.path), number, image + source.image_suffix, {style: (caption,)}, *split)


@pytest.fixture
def toy(monkeypatch, scenes, tmp_path):
    """Annotations of a toy format, whose pictures are those of the scenes."""
    toy_format = Format(toy_rows, file_per_split("{split}.toy"), "toys", settings=frozenset({"val"}))
    monkeypatch.setitem(FORMATS, "toy", toy_format)
    names = sorted(path.stem for path in (scenes / "images").glob("*"))[:3]
    for split in ("train", "val"):
        (tmp_path / f"{split}.toy").write_text("".join(f"{name}|calm|a thing on paper\n" for name in names))
    return names


def test_new_format_is_read_and_taken_by_the_configuration(toy, scenes, tmp_path):
    data = {"format": "toy", "annotations": str(tmp_path), "images": str(scenes / "images"), "image_suffix": ".png"}
    write_json(tmp_path / "conf.json", {"model": {"preset": "nano"}, "data": data})
    split = read_split(load_config(tmp_path / "conf.json").data, "train")
    assert [example.example_id for example in split.examples] == [f"{name}.png#calm" for name in toy]
    assert split.split_id == "toys/train.toy"

    whole = tmp_path / "val.toy"
    places = {"annotations": whole, "images": scenes / "images", "image_suffix": ".png", "on_bad_image": "ignore"}
    divided = read_examples("toy", split_name="train", split="hash", **places)
    assert divided.split_id == "toys/hash-sha256-80-10-10"
    with pytest.raises(ValueError, match="data.format=toy has no Flickr8k split"):
        read_examples("toy", split_name="train", split="flickr8k", **places)


def test_new_format_finds_its_own_file_and_carries_its_own_split(monkeypatch, tmp_path):
    folder_format = Format(toy_rows, lambda place: place.annotations / "part" / "all", "toys", own_split="toy")
    monkeypatch.setitem(FORMATS, "toy_folder", folder_format)
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "all").write_text("a|calm|a thing|train\nb|calm|a thing|val\n")
    places = {"annotations": tmp_path, "images": tmp_path, "on_bad_image": "ignore"}
    read = read_examples("toy_folder", split_name="val", **places)
    assert [example.example_id for example in read.examples] == ["b.jpg#calm"]
    assert read.split_id == "toys/toy"
    with pytest.raises(ValueError, match="data.format=toy_folder has no Flickr8k split"):
        read_examples("toy_folder", split_name="val", split="flickr8k", **places)


def test_new_format_that_makes_its_data_needs_no_paths(monkeypatch, tmp_path):
    def make(folder, num_images):
        folder.mkdir()
        (folder / "train.toy").write_text("a|calm|a thing\n" * num_images)

    generator = Generator(lambda num_images: tmp_path / f"made_{num_images}", make)
    made_format = Format(
        toy_rows, file_per_split("{split}.toy"), "toys", settings=frozenset({"num_images"}), generator=generator
    )
    monkeypatch.setitem(FORMATS, "toy_made", made_format)
    write_json(tmp_path / "conf.json", {"model": {"preset": "nano"}, "data": {"format": "toy_made", "num_images": 2}})
    config = load_config(tmp_path / "conf.json")
    prepare_data(config.data)
    (example,) = read_split(config.data, "train", check_pictures=False).examples
    assert example.captions == ("a thing", "a thing")
    assert example.image_path == tmp_path / "made_2" / "images" / "a.jpg"


def test_split_that_a_format_does_not_carry_is_refused_before_its_file_is_looked_for():
    with pytest.raises(ValueError, match="data.format=flickrstyle has no Toy split"):
        read_examples("flickrstyle", annotations=Path("a"), images=Path("b"), split_name="train", split="toy")


def test_settings_of_other_formats_are_refused_and_the_name_is_in_messages(toy, tmp_path):
    data = {"format": "toy", "annotations": "a", "images": "b", "train": "t", "val": "v", "split": "flickr8k"}
    write_json(tmp_path / "conf.json", {"model": {"preset": "nano"}, "data": data})
    with pytest.raises(ValueError, match="2 faults") as caught:
        load_config(tmp_path / "conf.json")
    assert 'data.train="t": only used with' in str(caught.value)
    assert 'data.split="flickr8k": flickr8k divides data.format flickrstyle or flickrstyle_release only' in str(
        caught.value
    )
    write_json(tmp_path / "conf.json", {"model": {"preset": "nano"}, "data": data | {"format": "toyy"}})
    with pytest.raises(ValueError, match="unknown data format; did you mean toy"):
        load_config(tmp_path / "conf.json")
