from __future__ import annotations

import json
from pathlib import Path

import pytest

from preprocessors.checks.encoding import bad_lines
from preprocessors.checks.rows import read_all
from preprocessors.readers import ReadResult, read_examples


def reader(format: str, **options):
    def read(annotations: Path) -> ReadResult:
        return read_examples(
            format, annotations=annotations, images=Path("no"), split_name="train", on_bad_image="ignore", **options
        )

    return read


def test_every_bad_line_of_json_lines_is_named_and_the_rest_keeps_its_numbers(tmp_path: Path):
    good = '{"image": "%s.jpg", "style": "calm", "captions": ["x"]}'
    lines = [good % 1, "{", good % 3, "", good % 5, '{"image": "6.jpg", "style": "calm"}', good % 7, "[1]"]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    (tmp_path / "val.jsonl").write_text(good % 9)
    result, cases = read_all(reader("jsonl"), tmp_path)
    file = tmp_path / "train.jsonl"
    assert [(example.source, example.row) for example in result.examples] == [(str(file), row) for row in (1, 3, 5, 7)]
    assert [case.where for case in cases] == [f"{file}, row {row}" for row in (2, 6, 8)]
    assert "not valid JSON" in cases[0].value
    assert cases[1].value.startswith("'captions' is missing")


def test_every_bad_row_of_a_json_list_is_named_and_the_rest_keeps_its_numbers(tmp_path: Path):
    rows = [{"image_hash": str(k), "personality": "Sweet", "comment": "x"} for k in range(1, 8)]
    rows[1], rows[3]["comment"], rows[4] = {}, "[TIMEOUT]", 5
    file = tmp_path / "all.json"
    file.write_text(json.dumps(rows))
    result, cases = read_all(reader("personality_captions", split="hash"), file)
    assert [case.where for case in cases] == [f"{file}, row {row}" for row in (2, 5)]
    rows_read = {example.image_name: example.row for example in result.examples}
    assert rows_read
    assert all(image == f"{row}.jpg" for image, row in rows_read.items())
    assert all((gone.source, gone.row) == (str(file), 4) for gone in result.dropped)


def test_what_is_no_row_is_refused_as_before(tmp_path: Path):
    (tmp_path / "train.jsonl").write_text('{\n"image": "a.jpg",\n"style": "calm"\n}')  # one object over four lines
    with pytest.raises(ValueError, match=r"train\.jsonl, line 1"):
        read_all(reader("jsonl"), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"gone.train\.jsonl"):
        read_all(reader("jsonl"), tmp_path / "gone")


def test_a_file_with_nothing_but_bad_rows_is_given_up(tmp_path: Path):
    (tmp_path / "train.jsonl").write_text("\n".join(["{}"] * 200))
    first = r" rows and more cannot be read; the first: .*train\.jsonl, row 1: 'style'"
    with pytest.raises(ValueError, match=f"^100{first}"):
        read_all(reader("jsonl"), tmp_path)
    (tmp_path / "train.jsonl").write_text("{}\n{}")
    with pytest.raises(ValueError, match=f"^2{first}") as caught:  # and not that the copy has no rows
        read_all(reader("jsonl"), tmp_path)
    assert str(tmp_path / "train.jsonl") in str(caught.value)


def test_bad_lines_are_numbered(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"fine\r\ncaf\xe9\r\n\xc3\xa9\r\n\xff")
    (tmp_path / "b.txt").write_bytes("é".encode())
    told = list(bad_lines([tmp_path / "a.txt", tmp_path / "b.txt", tmp_path / "gone.txt"]))
    assert [case.where for case in told] == [f"{tmp_path / 'a.txt'}, line 2", f"{tmp_path / 'a.txt'}, line 4"]
    assert told[0].value.strip() == "café"
