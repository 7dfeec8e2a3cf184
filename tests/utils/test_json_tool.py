"""The JSON tool of the shell scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from utils.io import read_json, write_json
from utils.json_tool import get_at, main

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENT = {
    "overall": {"CIDEr": 0.25, "SPICE": None},
    "n": 3,
    "caption": 'a "big" dog\u2028runs',
    "list": [{"a.b": 1}, {"a": {"b": 2}}],
    "empty": {},
}


@pytest.fixture
def file(tmp_path):
    write_json(tmp_path / "with space.json", DOCUMENT)
    return str(tmp_path / "with space.json")


@pytest.mark.parametrize(
    ("place", "printed"),
    [
        ("overall.CIDEr", "0.25"),
        ("overall.SPICE", "null"),
        ("overall", '{"CIDEr":0.25,"SPICE":null}'),
        ("n", "3"),
        ("caption", 'a "big" dog\u2028runs'),
        ("list.0.a.b", "1"),
        ("list.1.a.b", "2"),
        ("list.1", '{"a":{"b":2}}'),
    ],
)
def test_get_prints_what_stands_there(file, capsys, place, printed):
    assert main(["get", file, place]) == 0
    assert capsys.readouterr().out == printed + "\n"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("overall.CIDER", "there is no 'CIDER'; did you mean CIDEr"),
        ("overal", "did you mean overall"),
        ("overall.CIDEr.x", "0.25 is there, which has no keys"),
        ("list.2", "a list of 2 is there, counted from 0"),
        ("list.-1", "a list of 2"),
        ("empty.x", "known: nothing"),
        ("zzz", "known: overall, n, caption, list, empty"),
    ],
)
def test_get_of_nothing_says_what_there_is(file, capsys, place, message):
    assert main(["get", file, place]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("place", "text", "value"),
    [
        ("n", "4", 4),
        ("overall.CIDEr", "2e-5", 2e-5),
        ("overall.METEOR", "null", None),
        ("caption", "two dogs", "two dogs"),
        ("list.0.a.b", "[1, 2]", [1, 2]),
        ("list.1", "true", True),
        ("new.deep.key", '"7"', "7"),
    ],
)
def test_set_changes_that_place_only(file, place, text, value):
    assert main(["set", file, place, text]) == 0
    after = read_json(file)
    assert get_at(after, place) == value
    for key in DOCUMENT.keys() - {place.split(".")[0]}:
        assert after[key] == DOCUMENT[key]


def test_set_keeps_the_neighbours(file):
    main(["set", file, "overall.CIDEr", "1"])
    main(["set", file, "list.1.a.c", "3"])
    assert read_json(file) == DOCUMENT | {
        "overall": {"CIDEr": 1, "SPICE": None},
        "list": [{"a.b": 1}, {"a": {"b": 2, "c": 3}}],
    }


@pytest.mark.parametrize("place", ["n.x", "list.5", "list.x.y"])
def test_set_through_what_has_no_such_place_changes_nothing(file, capsys, place):
    before = Path(file).read_bytes()
    assert main(["set", file, place, "1"]) == 2
    assert "there is no" in capsys.readouterr().err
    assert Path(file).read_bytes() == before


@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff{}"])
def test_a_file_cut_short_is_named(tmp_path, capsys, content):
    (tmp_path / "cut.json").write_bytes(content)
    assert main(["get", str(tmp_path / "cut.json"), "a"]) == 2
    assert "cut.json, line 1" in capsys.readouterr().err


def test_runs_as_a_program_without_heavy_libraries(file):
    program = [sys.executable, "-X", "importtime", "-m", "utils.json_tool", "get", file, "overall.CIDEr"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=REPOSITORY, check=True)
    assert done.stdout == "0.25\n"
    assert "pydantic" not in done.stderr
