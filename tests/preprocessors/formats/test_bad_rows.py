import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocessors.formats import table
from preprocessors.formats.bad_rows import BAD_ROW, BadRows
from preprocessors.formats.rows import (
    AnnotationRow,
    Format,
    Source,
    captions_of,
    json_list,
    json_objects,
    one_file,
    text_of,
)
from preprocessors.readers import count_reasons, read_examples
from utils.io import read_json

GOOD = {"image": "a.png", "style": "calm", "captions": "x"}
BAD = {
    "not JSON": ('{"image": "a.png", ', r"line \d+, column 20: not valid JSON"),
    "cut line of bytes": (
        b'{"image": "\xff.png"}',
        r"line \d+, byte 12 of the line: 0xff is not UTF-8",
    ),
    "no object": ("[1]", r"row \d+: must be a JSON object, got \[1\]"),
    "no picture": ('{"style": "calm", "captions": "x"}', r"row \d+: 'image' is missing"),
    "number for a style": ('{"image": "a.png", "style": 3, "captions": "x"}', r"row \d+: 'style' must be text, got 3"),
    "no caption": ('{"image": "a.png", "style": "calm", "captions": []}', "calm"),
}


def as_bytes(line) -> bytes:
    return line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "abcdef":
        (tmp_path / f"{name}.png").touch()
    return tmp_path


def write(folder: Path, lines: list) -> None:
    (folder / "train.jsonl").write_bytes(b"\n".join(as_bytes(line) for line in lines) + b"\n")


def read(folder: Path, format: str = "jsonl", **settings):
    places = {"annotations": folder, "images": folder, "split_name": "train"}
    return read_examples(format, **places, **{"on_bad_row": "skip"} | settings)


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("fault", BAD)
def test_one_bad_row_is_an_error_or_is_left_out_and_the_others_are_read(folder: Path, fault: str, place: int):
    lines: list = [GOOD | {"image": f"{name}.png"} for name in "abc"]
    lines.insert(place, BAD[fault][0])
    write(folder, lines)
    with pytest.raises(ValueError, match=r"train\.jsonl, .*data\.on_bad_row=skip"):
        read(folder, on_bad_row="error")
    result = read(folder)
    assert [example.image_name for example in result.examples] == ["a.png", "b.png", "c.png"]
    (dropped,) = result.dropped
    assert (dropped.source, dropped.row) == (str(folder / "train.jsonl"), place + 1)
    assert dropped.reason == ("no caption" if fault == "no caption" else BAD_ROW)
    assert re.search(BAD[fault][1], dropped.detail)


def test_every_other_row_bad_in_every_way_leaves_the_good_ones_in_order(folder: Path):
    bad = [line for line, _ in BAD.values()]
    lines = []
    for number in range(600):
        lines += [GOOD | {"style": f"s{number}"}, bad[number % len(bad)]]
    write(folder, lines)
    result = read(folder)
    assert [example.style for example in result.examples] == [f"s{number}" for number in range(600)]
    assert [row.row for row in result.dropped] == list(range(2, 1201, 2))
    assert count_reasons(result.dropped) == {BAD_ROW: 500, "no caption": 100}


def test_bad_picture_of_a_coco_file_takes_its_own_captions_alone(folder: Path):
    images: list = [{"id": number, "file_name": f"{name}.png"} for number, name in enumerate("abcd")]
    images[1] = {"id": 1}
    images += [[3], {"file_name": "e.png"}, {"id": 2, "file_name": "f.png"}, {"id": 2, "file_name": "c.png"}]
    annotations = [{"image_id": number, "caption": f"c{number}"} for number in (0, 3, 1, 2, 0)] + [
        {"caption": "of none"}
    ]
    (folder / "captions_train2014.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    with pytest.raises(ValueError, match=r"train2014.json, images row 2: 'file_name' is missing.*on_bad_row=skip"):
        read(folder, "coco", on_bad_row="error")
    result = read(folder, "coco")
    assert {example.image_name: example.captions for example in result.examples} == {
        "a.png": ("c0", "c0"),
        "d.png": ("c3",),
        "c.png": ("c2",),
    }
    assert [(row.source.rpartition(".json")[2], row.row) for row in result.dropped] == [
        *(("", 3), ("", 6)),
        *((", images", row) for row in (2, 5, 6, 7)),
    ]


def test_rows_behind_a_bad_one_are_held_to_the_styles_before_it(folder: Path):
    plain = {"image": "b.png", "captions": "x"}
    write(folder, ["[1]", {"image": ""}, GOOD, "[1]", plain, GOOD | {"image": "c.png"}, "{", plain, GOOD])
    result = read(folder)
    assert [example.example_id for example in result.examples] == ["a.png#calm", "c.png#calm"]
    assert [row.row for row in result.dropped] == [1, 2, 4, 5, 7, 8]


def test_file_in_another_form_is_named_though_bad_rows_may_be_left_out(folder: Path):
    rows = [{"image_hash": "1", "personality": "Sweet", "comment": "x"}] * 3
    (folder / "train.jsonl").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match="this is Personality-Captions' form: data.format=personality_captions"):
        read(folder)


def test_only_bad_rows_are_counted_in_the_message(folder: Path):
    write(folder, ["[1]", "[2]"])
    with pytest.raises(ValueError, match=r"no row of 'train' is left; dropped: \{'unreadable row': 2\}.* row 1"):
        read(folder)


def test_fault_of_the_whole_file_is_an_error_all_the_same(folder: Path):
    (folder / "captions.json").write_text('{"images": []}')
    with pytest.raises(ValueError, match=r"captions\.json: must hold a JSON list of rows, got dict"):
        read(folder, "flickrstyle")
    (folder / "captions.json").write_text('[{"image": ')
    with pytest.raises(ValueError, match=r"captions\.json, line 1, column \d+: not valid JSON"):
        read(folder, "flickrstyle")


def test_rows_of_a_json_list_in_no_split_or_with_a_wrong_one_are_left_out(folder: Path):
    good = {"humorous": "h", "romantic": "r", "factual": ["f"]}
    rows = [
        good | {"image": "a.png", "flickr8k_split": "train"},
        good | {"image": "b.png", "flickr8k_split": "valid"},
        good | {"image": "c.png"},
        good | {"image": "d.png", "flickr8k_split": "dev"},
        good | {"image": "e.png", "flickr8k_split": "train", "romantic": 5},
        good | {"image": "f.png", "flickr8k_split": "train"},
    ]
    (folder / "captions.json").write_text(json.dumps(rows))
    result = read(folder, "flickrstyle")
    assert [example.image_name for example in result.examples[::3]] == ["a.png", "f.png"]
    assert [(row.row, row.reason) for row in result.dropped] == [(2, BAD_ROW), (3, "in no split"), (5, BAD_ROW)]
    (folder / "captions.json").write_text(json.dumps(rows[:1] + rows[3:4] + rows[2:3]))
    with pytest.raises(ValueError, match=r"row 3: c\.png is in no Flickr8k split.*data\.on_bad_row=skip"):
        read(folder, "flickrstyle", on_bad_row="error")


def gathering_rows(path: Path) -> Iterator[AnnotationRow]:
    """A format as COCO's: pictures in one list, captions in another, rows only at the end."""
    document = read_json(path)
    images = json_objects(enumerate(document["images"], 1), path)
    names = {record["id"]: text_of(record, "file", where) for _, record, where in images}
    gathered: dict[str, list[str]] = {}
    for _, record, where in json_objects(enumerate(document["annotations"], 1001), path):
        if record["id"] not in names:
            raise ValueError(f"{where}: unknown picture")
        gathered.setdefault(names[record["id"]], []).extend(captions_of(record, "caption", where))
    for number, (image, captions) in enumerate(gathered.items(), start=1):
        yield AnnotationRow(str(path), number, image, {"neutral": tuple(captions)})


def skipping_rows(path: Path) -> Iterator[AnnotationRow]:
    """A format that passes over records of its own, and makes two rows of others."""
    for row, record, where in json_list(path):
        if record.get("pass"):
            continue
        for image in (text_of(record, "image", where), "f.png"):
            yield AnnotationRow(str(path), row, image, {"calm": captions_of(record, "captions", where)})


@pytest.fixture
def own_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    find = one_file("all.json", "")
    own = {
        "gathering": Format(lambda source: gathering_rows(source.path), find, "own"),
        "skipping": Format(lambda source: skipping_rows(source.path), find, "own"),
    }
    monkeypatch.setattr(table, "FORMATS", table.FORMATS | own)
    monkeypatch.setattr("preprocessors.formats.recognition.FORMATS", table.FORMATS)


@pytest.mark.usefixtures("own_formats")
def test_format_that_gathers_rows_loses_nothing_but_the_bad_ones(folder: Path):
    images = [{"id": number, "file": f"{name}.png"} for number, name in enumerate("abcd")]
    images.insert(1, {"id": 9, "file": ""})
    annotations = [{"id": number % 4, "caption": f"c{number}"} for number in range(8)]
    annotations.insert(3, {"id": 0, "caption": " "})
    annotations.insert(6, {"id": 9, "caption": "of the bad picture"})
    (folder / "all.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    result = read(folder, "gathering")
    assert {example.image_name: example.captions for example in result.examples} == {
        f"{name}.png": (f"c{number}", f"c{number + 4}") for number, name in enumerate("abcd")
    }
    assert [row.row for row in result.dropped] == [2, 1004, 1007]


@pytest.mark.usefixtures("own_formats")
def test_format_with_more_or_fewer_rows_than_records_gives_none_twice(folder: Path):
    records = [GOOD | {"image": f"{name}.png", "captions": name} for name in "abcde"]
    records[1] = {"pass": True}
    records.insert(3, {"image": "c.png"})
    records.insert(5, {"image": ""})
    (folder / "all.json").write_text(json.dumps(records))
    result = read(folder, "skipping")
    assert [(example.image_name, example.captions) for example in result.examples] == [
        ("a.png", ("a",)),
        ("f.png", ("a", "c", "d", "e")),
        ("c.png", ("c",)),
        ("d.png", ("d",)),
        ("e.png", ("e",)),
    ]
    assert [row.row for row in result.dropped] == [4, 6]


def test_faults_of_what_is_read_in_between_are_not_those_of_the_rows(folder: Path):
    """Whoever takes rows may read another file meanwhile: its faults are its own."""
    write(folder, [GOOD, "[1]", GOOD])
    (folder / "other.json").write_text("[2]")
    reading = BadRows()
    rows = reading.read(lambda: table.FORMATS["jsonl"].open_rows(Source(folder / "train.jsonl", None, "", "")))
    next(rows)
    with pytest.raises(ValueError, match=r"other\.json, row 1: must be a JSON object, got 2"):
        list(json_list(folder / "other.json"))
    assert len(list(rows)) == 1
    assert [row.row for row in reading.dropped] == [2]
