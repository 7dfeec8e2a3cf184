"""Data sets in many files are found by patterns, and by the usual names of their splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessors.formats.rows import Place
from preprocessors.formats.shards import expand_braces, expand_shards, files_per_split, root_of

FIND = files_per_split(("{split}*.tar", "{split}/*.tar"), ("*.tar",))


def test_expand_braces_counts_and_lists():
    assert expand_braces("a{08..11}.tar") == ["a08.tar", "a09.tar", "a10.tar", "a11.tar"]
    assert expand_braces("{x,y}/{1..2}") == ["x/1", "x/2", "y/1", "y/2"]
    assert expand_braces("plain.tar") == ["plain.tar"]
    with pytest.raises(ValueError, match=r"the range \{3..1\} runs backwards. Write \{1..3\}"):
        expand_braces("{3..1}.tar")


@pytest.fixture
def shards(tmp_path):
    for name in ("train-00.tar", "train-01.tar", "validation/0.tar", "odd[1].tar"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_expand_shards_finds_files_and_names_the_first_that_is_missing(shards):
    pair = [shards / "train-00.tar", shards / "train-01.tar"]
    assert expand_shards(shards / "train-*.tar") == pair
    assert expand_shards(shards / "train-{01,00}.tar") == pair[::-1]
    assert expand_shards(shards / "{train,validation/}*0.tar") == [pair[0], shards / "validation/0.tar"]
    assert expand_shards(shards / "odd[1].tar") == [shards / "odd[1].tar"]  # a file of that very name
    with pytest.raises(FileNotFoundError, match=r"train-02.tar: no such file \(2 of 4 that .* are missing"):
        expand_shards(shards / "train-{00..03}.tar")
    with pytest.raises(FileNotFoundError, match=r"none\*: no file is named so"):
        expand_shards(shards / "none*")


def test_folder_that_is_there_is_taken_as_it_is_written(tmp_path):
    for name in ("2024 [a]", "{1..2}", "b*"):
        (tmp_path / name).mkdir()
        for file in ("train-0.tar", "train-1.tar"):
            (tmp_path / name / file).touch()
        found = FIND(Place(tmp_path / name, "train", None, None))
        assert found == tmp_path / name / "train*.tar"
        assert expand_shards(found) == [tmp_path / name / "train-0.tar", tmp_path / name / "train-1.tar"]
        assert expand_shards(tmp_path / name / "train-{1,0}.tar")[0] == tmp_path / name / "train-1.tar"


def test_file_outside_the_annotations_is_refused(shards, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "x.tar"
    other.touch()
    with pytest.raises(ValueError, match=r"data.train=.*x.tar: lies outside .*Make data.annotations a folder above"):
        FIND(Place(shards, "train", str(other), None))


def test_root_of_a_pattern_is_the_folder_that_is_there(shards):
    assert root_of(shards) == shards
    assert root_of(shards / "train-00.tar") == shards
    assert root_of(shards / "*" / "{0..3}.tar") == shards
    assert root_of(Path("{0..3}.tar")) == Path()


def test_files_per_split_knows_the_usual_names(shards):
    assert FIND(Place(shards, "train", None, None)) == shards / "train*.tar"
    assert FIND(Place(shards, "val", None, None)) == shards / "validation/*.tar"
    assert FIND(Place(shards, "val", "train-01.tar", None)) == shards / "train-01.tar"
    assert FIND(Place(shards, "val", None, "hash")) == shards / "*.tar"
    assert FIND(Place(shards / "train-*.tar", "val", None, "hash")) == shards / "train-*.tar"
    with pytest.raises(FileNotFoundError, match=r"has none of test\*.tar, test/\*.tar. .* data.test"):
        FIND(Place(shards, "test", None, None))
    with pytest.raises(ValueError, match="one set of files for every split. Set data.split=hash"):
        FIND(Place(shards / "train-*.tar", "train", None, None))
