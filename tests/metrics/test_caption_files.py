from __future__ import annotations

import json
from pathlib import Path

import pytest

from metrics.caption_files import UNSTYLED, read_hypotheses, read_references, read_train_captions
from tests.container_files import picture_bytes, shard_of, write_tar, write_tsv

STYLED = [
    {"image_id": "a.jpg", "caption": "my love", "style": "romantic", "example_id": "a.jpg#romantic"},
    {"image_id": "a.jpg", "caption": "arr", "style": "pirate", "example_id": "a.jpg#pirate"},
]


@pytest.fixture
def write(tmp_path):
    def write(content: object) -> Path:
        path = tmp_path / "captions.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        {"images": [{"id": 42}], "annotations": [{"image_id": 42, "caption": "a"}, {"image_id": 42, "caption": "b"}]},
        [{"image_id": 42, "caption": "a", "id": 1}, {"image_id": "42", "caption": "b"}],
        {"42": ["a", "b"]},
    ],
)
def test_read_references_every_form_gives_the_same_captions_by_text_id(write, content):
    assert read_references(write(content)).captions == {"42": ["a", "b"]}


def test_read_references_rows_of_our_captions_file_keep_image_and_style(write):
    table = read_references(write(STYLED))

    assert table.captions == {"a.jpg#romantic": ["my love"], "a.jpg#pirate": ["arr"]}
    assert table.images == {"a.jpg#romantic": "a.jpg", "a.jpg#pirate": "a.jpg"}
    assert table.styles == {"a.jpg#romantic": "romantic", "a.jpg#pirate": "pirate"}


def test_read_references_style_without_example_id_is_part_of_the_key(write):
    rows = [{name: value for name, value in row.items() if name != "example_id"} for row in STYLED]

    assert read_references(write({"annotations": rows})).captions == read_references(write(STYLED)).captions


def test_read_references_coco_example_has_all_annotations(shared):
    table = read_references(shared / "data" / "coco_fakecap" / "captions_val2014_fakecap1000.json")

    assert len(table.captions) == 1000
    assert sum(map(len, table.captions.values())) == 5005
    assert table.captions["331352"][0] == "A small closed toilet in a cramped space."


@pytest.mark.parametrize("content", [{"a": ["x", " "], "b": ["y"]}, {"a": ["x"], "b": ["", "y"]}])
def test_read_references_empty_one_among_others_is_kept_and_counted(write, content, caplog):
    assert read_references(write(content)).captions == content
    assert [record.message.split(": ")[1] for record in caplog.records] == ["1 references are empty"]


@pytest.mark.parametrize("empty", [[], [""], [" \n"]])
def test_read_references_image_without_text_is_refused(write, empty):
    with pytest.raises(ValueError, match=r"captions.json: 1 id \('b'\) without any reference text"):
        read_references(write({"a": ["x"], "b": empty}))


@pytest.mark.parametrize("content", [{"1": "a", "2": ""}, {"1": ["a"], "2": [""]}])
def test_read_hypotheses_map_takes_a_text_or_a_list_of_one(write, content, caplog):
    assert read_hypotheses(write(content)).captions == {"1": ["a"], "2": [""]}
    assert [record.message.split(": ")[1] for record in caplog.records] == ["1 hypotheses are empty and score 0"]


@pytest.mark.parametrize(
    "content",
    [
        [{"image_id": key, "caption": "a"} for key in (1, 2, 1, "1", 3, 2)],
        {"1": ["a", "b"], "2": ["a", "a"], "3": ["a"]},
        b'{"1": ["a"], "2": ["b"], "3": ["c"], "1": ["d"], "2": "e"}',
    ],
)
def test_read_hypotheses_two_captions_for_an_id_are_counted_and_listed(write, content):
    with pytest.raises(ValueError, match=r"2 ids \('1', '2'\) (with|that stand there) more than on"):
        read_hypotheses(write(content))


def test_read_hypotheses_many_repeated_ids_list_the_first_five(write):
    with pytest.raises(ValueError, match=r"7 ids \('0', '1', '2', '3', '4', \.\.\.\) with more"):
        read_hypotheses(write([{"image_id": number % 7, "caption": "a"} for number in range(14)]))


def test_read_hypotheses_empty_list_is_refused(write):
    with pytest.raises(ValueError, match=r"1 id \('b'\) with an empty list"):
        read_hypotheses(write({"a": ["x"], "b": []}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": ["x"],\n "b": oops}', r"captions.json, line 2, column \d+: not valid JSON"),
        (b"", "not valid JSON"),
        (b'{"a": ["x"],\n "b": ["caf\xe9"]}', r"line 2, byte 25 of the file: 0xe9 is not UTF-8"),
        (b'["\\ud800"]', "line 1, column 3: not valid JSON"),
        (3, "the file is 3; it must be COCO annotations"),
        (None, "the file is null"),
        ("a", "the file is a string"),
        ({"annotations": {"a": 1}}, "annotations is an object; it must be"),
        ({"annotations": []}, "holds no captions"),
        ([], "holds no captions"),
        ({}, "holds no captions"),
        (["a", "b"], r"2 of 2 rows cannot be used: \[0\] is a string, not an object; \[1\] is"),
        ({"annotations": [{"image_id": 1}]}, r"1 of 1 rows .*: annotations\[0\] has no 'caption'"),
        ([{"image_id": 1, "caption": "a"}, {"caption": "b"}], r"1 of 2 rows cannot be used: \[1\] has no 'image_id'"),
        ([{"image_id": 1, "caption": None}], r"\[0\] has null as 'caption', not a string"),
        ([{"image_id": 1, "caption": 3.5}], r"\[0\] has 3.5 as 'caption'"),
        ([{"image_id": 1, "caption": ["a"]}], r"\[0\] has a list as 'caption'"),
        ([{"image_id": True, "caption": "a"}], r"\[0\] has true as 'image_id', not a string or a whole number"),
        ([{"image_id": 1, "caption": "a", "example_id": 1.5}], r"\[0\] has 1.5 as 'example_id'"),
        ([{"image_id": 1, "caption": "a", "style": None}], r"\[0\] has null as 'style', not a string"),
        ({"a": None, "b": {"caption": "x"}}, "2 of 2 ids .*: 'a' is null, not a list of captions; 'b' is an object"),
        ({"a": ["x", 3]}, r"'a' \[1\] is 3, not a string"),
        ([STYLED[0], STYLED[0] | {"image_id": "b.jpg"}], "'a.jpg#romantic' is of two images, 'a.jpg' and 'b.jpg'"),
        ([STYLED[0], STYLED[0] | {"style": "sad"}], "'a.jpg#romantic' is in two styles, 'romantic' and 'sad'"),
    ],
)
def test_read_references_unusable_file_is_refused_with_its_place(write, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read_references(write(content))

    assert "captions.json" in str(error.value)


def test_read_references_many_faults_are_counted_and_the_first_five_told(write):
    with pytest.raises(ValueError, match=r"9 of 9 rows cannot be used: .*\[4\] has no 'image_id'; \.\.\.\.$"):
        read_references(write([{}] * 9))


def test_read_references_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.json: no such file"):
        read_references(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"sad": ["a", "b"], "glad": "c"}, {"sad": ["a", "b"], "glad": ["c"]}),
        (["a", "b"], {UNSTYLED: ["a", "b"]}),
        ({"annotations": STYLED}, {"romantic": ["my love"], "pirate": ["arr"]}),
        ([{"caption": "a"}, *STYLED], {UNSTYLED: ["a"], "romantic": ["my love"], "pirate": ["arr"]}),
    ],
)
def test_read_train_captions_every_form_gives_captions_by_style(write, content, expected):
    assert read_train_captions(write(content)) == expected


@pytest.mark.parametrize("content", [["a", None], {"sad": [1]}, [{"style": "sad"}]])
def test_read_train_captions_other_things_are_refused(write, content):
    with pytest.raises(ValueError, match="cannot be used"):
        read_train_captions(write(content))


@pytest.mark.parametrize("content", [[], {}, {"sad": []}, {"annotations": []}])
def test_read_train_captions_no_caption_is_refused(write, content):
    with pytest.raises(ValueError, match="captions.json: holds no captions"):
        read_train_captions(write(content))


def test_files_that_hold_pictures_are_refused_in_few_words(tmp_path: Path):
    tar = write_tar(tmp_path / "val.tar", shard_of(range(2)))
    with pytest.raises(ValueError, match=r"val.tar: holds pictures, and such files are not read for scores"):
        read_references(tar)
    tsv = write_tsv(tmp_path / "val.tsv", [("7", "a dog", picture_bytes(1) * 100)])
    with pytest.raises(ValueError, match=r"val.tsv: a table whose columns .* are not known") as raised:
        read_references(tsv)
    assert len(str(raised.value)) < 500
