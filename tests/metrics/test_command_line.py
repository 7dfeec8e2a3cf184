from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from metrics.command_line import run_command, show_path, write_result
from utils.io import read_json


def failing(error: BaseException):
    def command():
        raise error

    return command


def test_run_command_result_is_one_line_and_a_file(tmp_path, capsys):
    result = {"caption": "two\nlines"}

    assert run_command(lambda: result, tmp_path / "out.json") == 0

    out, error = capsys.readouterr()
    assert (json.loads(out), out.count("\n"), error) == (result, 1, "")
    assert read_json(tmp_path / "out.json") == result


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("a\nb"), 2, "error: a b\n"),
        (FileNotFoundError("x.json: no such file"), 2, "error: x.json: no such file\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_run_command_fault_is_one_line_on_standard_error(capsys, error, code, told):
    assert run_command(failing(error)) == code
    assert capsys.readouterr() == ("", told)


def test_run_command_fault_of_ours_is_no_fault_of_the_input():
    with pytest.raises(KeyError):
        run_command(failing(KeyError("bug")))


def test_write_result_is_utf8_whatever_the_terminal_speaks(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))

    write_result({"style": "gelé"})

    assert written.getvalue() == '{"style":"gelé"}\n'.encode()


def test_show_path_name_that_is_not_utf8_becomes_text():
    assert show_path(Path(os.fsdecode(b"a\xff.json"))) == "a\ufffd.json"
    assert show_path(None) is None
