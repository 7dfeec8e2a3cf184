"""CSV, JSON and JSON Lines of one's own: columns, what people write into them, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configuration.loading import load_config
from pipeline.data import read_split
from preprocessors.formats.text_tables import list_in_text
from preprocessors.readers import read_examples


@pytest.fixture
def read(tmp_path: Path):
    """Writes the training file of a format and reads it: captions by (picture, style)."""

    def read(name: str, content: bytes | str, split_name: str = "train", **settings):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        settings = {"files": {split_name: name}, "images": tmp_path, "on_bad_image": "ignore", **settings}
        form = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "jsonl"}[path.suffix]
        result = read_examples(form, annotations=tmp_path, split_name=split_name, **settings)
        return {(example.image_name, example.style): example.captions for example in result.examples}

    return read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'image,style,caption\na.png,calm,"one, and ""two"""\na.png,calm,three\n'),
        ("a.csv", '\ufeffimage;style;caption\r\na.png;calm;one, and "two"\r\n\r\na.png;calm;three\r\n'),
        ("a.tsv", 'style\timage\ttext\ncalm\ta.png\tone, and "two"\ncalm\ta.png\t three \n'),
        ("a.csv", 'image,style,caption\ra.png,calm,"one, and ""two"""\ra.png,calm,three\r'),
        ("a.csv", 'image,style,captions\na.png,calm,"[\'one, and ""two""\', ""three""]"\n'),
        ("a.csv", 'image,style,captions\na.png,calm,"[\'one, and ""two""\'\n \'three\']"\n'),
        ("a.json", json.dumps([{"image": "a.png", "style": "calm", "captions": ['one, and "two"', "three"]}])),
        ("a.jsonl", '{"image": "a.png", "style": "calm", "captions": "[\'one, and \\"two\\"\', \'three\']"}'),
    ],
)
def test_same_captions_however_they_are_written(read, name, content):
    assert read(name, content) == {("a.png", "calm"): ('one, and "two"', "three")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['a', \"it's\"]", ("a", "it's")),
        ('["a"]', ("a",)),
        ("['a dog' 'two dogs']", ("a dog", "two dogs")),
        ("['say \\'so\\'', 'b']", ("say 'so'", "b")),
        ("[]", ()),
        ("[laughs] oh no", None),
        ("[TIMEOUT]", None),
        ("[1, 2]", None),
        ("a ['b']", None),
        ("['a'", None),
    ],
)
def test_list_in_text_is_a_list_of_texts_or_none(text, expected):
    assert list_in_text(text) == expected


def test_file_without_styles_is_neutral_and_one_style_too_many_is_refused(read):
    assert read("a.csv", "image,caption\na.png,x\n") == {("a.png", "neutral"): ("x",)}
    rows = [{"image": "a.png", "caption": "x"}, {"image": "b.png", "caption": "y", "style": "calm"}]
    with pytest.raises(ValueError, match="a.json, row 2: 'style' is given, but the rows before have no style"):
        read("a.json", json.dumps(rows))


COLUMNS = {"personality": "style", "comment": "text", "image_hash": "image"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "image_hash,personality,comment,style\n0a1b,Sweet,Aw,ignored\n"),
        ("a.json", json.dumps([{"image_hash": "0a1b", "personality": "Sweet", "comment": "Aw"}])),
        ("a.jsonl", json.dumps({"image_hash": "0a1b", "personality": "Sweet", "comment": ["Aw"]})),
    ],
)
def test_columns_are_found_under_their_own_names_and_suffixes_added(read, name, content):
    assert read(name, content, columns=COLUMNS) == {("0a1b.jpg", "Sweet"): ("Aw",)}


def test_several_columns_of_captions_are_joined_and_empty_cells_left_out(read):
    columns = {"first": "text", "second": "text"}
    content = "image,first,second\na.png,x,y\nb.png,,z\n"
    assert [*read("a.csv", content, columns=columns).values()] == [("x", "y"), ("z",)]


def test_column_that_is_not_there_is_named(read):
    with pytest.raises(ValueError, match=r"a.csv, row 2: 'comment' is missing \(keys: image_hash, personality\)"):
        read("a.csv", "image_hash,personality\n0a1b,Sweet\n", columns=COLUMNS)


def test_columns_come_from_the_configuration(load, faults, tmp_path):
    (tmp_path / "train.csv").write_text("image_hash,personality,comment\n0a1b,Sweet,Aw\n")
    data = {"format": "csv", "annotations": str(tmp_path), "images": str(tmp_path), "columns": COLUMNS}
    config = load(data=data)
    (example,) = read_split(config.data, "train", check_pictures=False).examples
    assert (example.example_id, example.captions) == ("0a1b.jpg#Sweet", ("Aw",))
    assert load(data=data, overrides=["data.columns.other=text"]).data.columns == COLUMNS | {"other": "text"}
    wrong = faults(data=data | {"columns": {"comment": "caption"}})
    assert wrong == [
        'conf.json: data.columns={"comment":"caption"}: comment: unknown content of a column; known: image, style, text'
    ]
    (fault,) = faults(data=data | {"format": "coco"})
    assert "only used with data.format jsonl or json or csv; remove it" in fault


def test_test_rows_may_have_no_captions_and_others_must(read):
    for name, content in {
        "a.csv": "image,style,caption\na.png,calm,\n",
        "b.csv": "image,style\na.png,calm\n",
        "a.json": '[{"image": "a.png", "style": "calm"}]',
        "a.jsonl": '{"image": "a.png", "style": "calm", "captions": []}',
    }.items():
        assert read(name, content, "test") == {("a.png", "calm"): ()}
        with pytest.raises(ValueError, match=rf"{name}, row [12]: no caption in style"):
            read(name, content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", 'image,caption\na.png,x\nb.png,"y"z\nc.png,w\n', "row 3: a double quote that is opened here is not"),
        ("a.csv", 'image,caption\na.png,x\nb.png,"y\nc.png,w\n', "row 3: a double quote .*unexpected end of data"),
        ("a.csv", "image,caption\na.png,x, and y\n", "row 2: has 3 fields, but the header names 2 columns"),
        ("a.csv", "image,caption\na.png,x\nb.png\n", "row 3: has 1 fields"),
        ("a.csv", "image,caption,caption\na.png,x,y\n", "row 1: two columns have the same name"),
        ("a.csv", b"image,caption\na.png,x\nb.png,caf\xe9\n", "line 3, byte 32 of the file: 0xe9 is not UTF-8"),
        ("a.csv", b"\xff\xfei\0m\0a\0g\0e\0", "line 1, byte 1 of the file: 0xff is not UTF-8; save the file as UTF-8"),
        ("a.csv", "image,caption\n", "the file has no rows"),
        ("a.csv", "", "the file has no rows"),
        ("a.csv", "picture,words\na.png,x\n", r"row 2: 'image' is missing \(keys: picture, words\)"),
        ("a.jsonl", '{"image": "a.png", "caption": "x"}\n{"image": oops}\n', r"line 2, column \d+: not valid JSON"),
        (
            "a.jsonl",
            b'{"image": "a.png", "caption": "x"}\n{"image": "b.png", "caption": "caf\xe9"}\n',
            "line 2, byte \\d+.*: 0xe9 is not UTF-8",
        ),
        ("a.json", '[{"image": "a.png", "caption": "x"}, 3]', "row 2: must be a JSON object, got 3"),
        ("a.json", '{"image": "a.png"}', "a.json: must hold a JSON list of rows, got dict"),
        ("a.json", b'[\n{"image": "\xe9.png"}]', "line 2, byte 14 of the file: 0xe9 is not UTF-8"),
    ],
)
def test_broken_file_is_refused_with_its_place(read, name, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        read(name, content)
    assert name in str(caught.value)


def test_backslashes_of_windows_become_slashes(read, tmp_path):
    (tmp_path / "beach").mkdir()
    (tmp_path / "beach" / "1.png").touch()
    content = "image,style,caption\nbeach\\1.png,calm,x\n"
    assert read("a.csv", content, on_bad_image="error") == {("beach/1.png", "calm"): ("x",)}


def test_field_case_of_backslashes_is_read(shared):
    folder = shared / "field" / "data" / "backslash"
    if not folder.is_dir():
        pytest.skip("no field cases in the shared folder")
    config = load_config(shared / "field" / "backslash.json")
    result = read_examples(config.data.format, annotations=folder, images=folder / "pictures", split_name="train")
    assert [example.image_path for example in result.examples] == [folder / "pictures" / "beach" / "0412.png"]
