from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from utils.io import append_jsonl, encode_json, read_json, read_jsonl, write_json, write_text


def test_write_json_numpy_and_paths_read_back_as_plain_values(tmp_path):
    path = tmp_path / "new" / "folder" / "a.json"
    every_other = np.arange(4)[::2]
    assert not every_other.flags.c_contiguous
    write_json(path, {"score": np.float32(0.5), "ids": every_other, "root": Path("a/b"), "word": "café"})
    assert read_json(path) == {"score": 0.5, "ids": [0, 2], "root": "a/b", "word": "café"}
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_write_json_value_without_json_form_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError, match="JSON"):
        write_json(path, {"new": object()})
    assert read_json(path) == {"old": 1}


def test_write_text_failing_rename_leaves_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail(*_):
        raise OSError("disk gone")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk gone"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_text_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_read_json_invalid_names_file_line_and_column(tmp_path):
    path = tmp_path / "conf.json"
    path.write_text('{\n  "lr": 1,\n  oops\n}')
    with pytest.raises(ValueError, match=r"conf\.json, line 3, column 3: not valid JSON"):
        read_json(path)


def test_read_json_byte_order_mark_is_ignored(tmp_path):
    path = tmp_path / "windows.json"
    path.write_bytes(b'\xef\xbb\xbf{"lr": 1}')
    assert read_json(path) == {"lr": 1}


def test_read_json_not_utf8_is_refused_by_file_name(tmp_path):
    path = tmp_path / "latin.json"
    path.write_bytes('{"a":\n "café"}'.encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.json, line 2, byte 12 of the file: 0xe9 is not UTF-8"):
        read_json(path)


def test_read_json_missing_file_and_folder_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_json(tmp_path)


def test_append_jsonl_rows_read_back_with_line_numbers(tmp_path):
    path = tmp_path / "deep" / "samples.jsonl"
    for row in ({"step": 1}, {"step": 2}):
        append_jsonl(path, row)
    assert list(read_jsonl(path)) == [(1, {"step": 1}), (2, {"step": 2})]


def test_append_jsonl_after_a_cut_row_starts_a_line_of_its_own(tmp_path):
    path = tmp_path / "samples.jsonl"
    path.write_text('{"step": 1}\n{"st')
    append_jsonl(path, {"step": 2})
    assert path.read_text().splitlines() == ['{"step": 1}', '{"st', '{"step":2}']


def test_read_jsonl_blank_lines_count_but_yield_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\r\n\r\n"\xe2\x80\xa8"\n')
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (3, "\u2028")]


def test_read_jsonl_invalid_row_names_file_and_line_after_the_good_rows(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text('{"a": 1}\n\n{"a": \n')
    rows = read_jsonl(path)
    assert next(rows) == (1, {"a": 1})
    with pytest.raises(ValueError, match=r"captions\.jsonl, line 3, column \d+: not valid JSON"):
        next(rows)


def test_encode_json_not_a_number_becomes_null_on_one_line():
    assert encode_json({"loss": float("nan"), "n": [1, 2]}) == b'{"loss":null,"n":[1,2]}'


def test_write_json_through_a_link_writes_the_file_and_keeps_the_link(tmp_path):
    (tmp_path / "real.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_json(tmp_path / "link.json", {"lr": 1})
    assert (tmp_path / "link.json").is_symlink()
    assert read_json(tmp_path / "real.json") == {"lr": 1}
