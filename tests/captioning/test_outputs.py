"""Formats that captions are written in: what stands where, what is refused, what goes on."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from captioning.outputs.table import FORMATS, format_for, open_output
from captioning.outputs.target import Target
from captioning.wanted import Answer, Request, WantedPicture
from captioning.writing import Caption

SAID = {
    "wry": [Caption("un café, non?", -1.23456, False), Caption("", -9.0, True)],
    "calm": [Caption("tea", -2.0, False)],
}


def wanted(name: str, *styles: str, folder: Path = Path("p"), **about: object) -> WantedPicture:
    requests = tuple(Request(style, about) for style in styles or ("wry", "calm"))
    return WantedPicture(name, folder / name, name, requests)


def answered(picture: WantedPicture) -> Answer:
    return Answer(picture, {style: SAID[style] for style in picture.styles()})


def write(name: str, out: Path | None, *answers: Answer, close: bool = True, **options) -> str:
    """What a format writes of answers."""
    stream = io.StringIO()
    pictures = [answer.picture for answer in answers]
    output = open_output(name, Target(out=out, stream=stream, pictures=pictures, **options))
    for answer in answers:
        output.add(answer)
    if close:
        output.close()
    return stream.getvalue() if out is None or out.is_dir() else out.read_text(encoding="utf-8")


FAILED = Answer(wanted("b.jpg"), error="no picture")


@pytest.mark.parametrize(
    ("labels", "lines"),
    [
        ((False, False), ["un café, non?", "", "tea"]),
        ((False, True), ["wry\tun café, non?", "wry\t", "calm\ttea"]),
        ((True, True), ["a.jpg\twry\tun café, non?", "a.jpg\twry\t", "a.jpg\tcalm\ttea"]),
    ],
)
def test_text_has_the_labels_that_are_asked_for_and_no_line_for_an_error(labels, lines, tmp_path):
    names = dict(zip(("names_pictures", "names_styles"), labels, strict=True))
    assert write("text", None, answered(wanted("a.jpg")), FAILED, **names).splitlines() == lines
    assert write("text", tmp_path / "new/x.txt", answered(wanted("a.jpg")), **names).splitlines() == lines


def test_caption_with_ends_of_lines_in_it_stays_one_line(tmp_path):
    answer = Answer(wanted("a.jpg", "wry", folder=tmp_path), {"wry": [Caption("a\tb\r\nc\u2028d", -1.0, False)]})
    assert write("text", None, answer, names_pictures=False, names_styles=False) == "a b  c d\n"
    write("sidecar", None, answer)
    assert (tmp_path / "a.txt").read_bytes() == b"a b  c d\n"


def test_json_rows_can_be_trained_on_and_say_what_went_wrong(tmp_path):
    answers = [answered(wanted("a.jpg", "wry", reference="r")), FAILED]
    rows = [
        {"image": "a.jpg", "style": "wry", "reference": "r", "captions": ["un café, non?", ""]}
        | {"log_probs": [-1.2346, -9.0], "cut": [False, True]},
        {"image": "b.jpg", "error": "no picture"},
    ]
    assert json.loads(write("json", None, *answers)) == rows
    assert json.loads(write("json", tmp_path / "a.json", *answers)) == rows
    assert [*map(json.loads, write("jsonl", tmp_path / "a.jsonl", *answers).splitlines())] == rows
    assert [*map(json.loads, write("jsonl", None, *answers).splitlines())] == rows


@pytest.mark.parametrize("name", ["json", "jsonl"])
def test_json_on_a_console_without_the_characters_escapes_them(name, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = write(name, None, answered(wanted("a.jpg", "wry")))
    assert text.isascii()
    assert "un caf\\u00e9, non?" in text
    assert "un café, non?" in json.loads(text if name == "jsonl" else text.splitlines()[1])["captions"]


def test_csv_has_a_row_for_each_caption_and_columns_of_what_goes_with_them(tmp_path):
    answers = [answered(wanted("a, b.jpg", reference=["r", "s"])), FAILED]
    rows = [*csv.DictReader(io.StringIO(write("csv", tmp_path / "x.csv", *answers)))]
    assert [*rows[0]] == ["image", "style", "reference", "caption", "log_prob", "cut", "error"]
    assert [*rows[1].values()] == ["a, b.jpg", "wry", '["r","s"]', "", "-9.0", "1", ""]
    assert [(row["image"], row["style"], row["error"]) for row in rows] == [
        *(("a, b.jpg", "wry", ""), ("a, b.jpg", "wry", ""), ("a, b.jpg", "calm", "")),
        ("b.jpg", "", "no picture"),
    ]


def test_sidecars_lie_beside_the_picture_and_name_the_style_where_there_are_several(tmp_path):
    write("sidecar", None, answered(wanted("a.b.jpg", "wry", folder=tmp_path)))
    assert (tmp_path / "a.b.txt").read_text(encoding="utf-8") == "un café, non?\n\n"
    write(
        "sidecar", None, answered(wanted("c.jpg", folder=tmp_path)), Answer(wanted("d.jpg", folder=tmp_path), error="x")
    )
    assert {path.name for path in tmp_path.iterdir()} == {"a.b.txt", "c.wry.txt", "c.calm.txt"}


def test_sidecars_in_a_folder_of_their_own_keep_the_tree_and_styles_with_any_name(tmp_path):
    odd = WantedPicture("x", Path("x.tar/in/a.jpg"), "in/a.jpg", (Request("wry / 50%."), Request("calm")))
    write("sidecar", tmp_path, Answer(odd, dict.fromkeys(("wry / 50%.", "calm"), SAID["calm"])))
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")}
    assert names == {"in/a.wry %2F 50%25%2E.txt", "in/a.calm.txt"}


def test_sidecars_of_two_pictures_with_one_name_are_refused(tmp_path):
    pictures = [answered(wanted(name, "wry", folder=tmp_path)) for name in ("a.jpg", "a.png")]
    with pytest.raises(ValueError, match=r"a.jpg and a.png would both be captioned in .*a.txt; rename one"):
        write("sidecar", None, *pictures)
    (tmp_path / "x.tar").write_bytes(b"")
    with pytest.raises(ValueError, match="a.jpg: lies in a container; name a folder"):
        write("sidecar", None, answered(wanted("a.jpg", folder=tmp_path / "x.tar")))


@pytest.mark.parametrize("name", ["text", "json", "jsonl", "csv", "html"])
def test_file_that_is_there_is_refused_before_anything_is_written_and_replaced_if_asked(name, tmp_path):
    out = tmp_path / "out"
    out.write_text("precious")
    page = {"write_page": lambda path, answers: path.write_text(f"{len(answers)} pictures")}
    with pytest.raises(ValueError, match="out: is there already; .*--overwrite replaces it"):
        write(name, out, answered(wanted("a.jpg")), **page)
    assert out.read_text() == "precious"
    assert "precious" not in write(name, out, answered(wanted("a.jpg")), overwrite=True, **page)


def test_sidecars_that_are_there_are_refused_kept_or_replaced(tmp_path):
    answers = [answered(wanted(name, "calm", folder=tmp_path)) for name in ("a.jpg", "b.jpg")]
    (tmp_path / "a.txt").write_text("by hand")
    with pytest.raises(ValueError, match=r"a.txt: is there already \(1 of 2 such files are\); --skip-existing"):
        write("sidecar", None, *answers)
    target = Target(None, io.StringIO(), [answer.picture for answer in answers], skip_existing=True)
    output = open_output("sidecar", target)
    assert [output.has(answer.picture, "calm") for answer in answers] == [True, False]
    write("sidecar", None, *answers, overwrite=True)
    assert (tmp_path / "a.txt").read_text() == "tea\n"


def test_jsonl_that_was_cut_short_is_repaired_and_its_errors_are_tried_again(tmp_path, caplog):
    out = tmp_path / "x.jsonl"
    write("jsonl", out, FAILED, answered(wanted("a.jpg")), close=False)
    whole = out.read_bytes()
    out.write_bytes(whole[:-9])
    output = open_output("jsonl", Target(out, io.StringIO(), skip_existing=True))
    known = [output.has(wanted(name), style) for name in ("a.jpg", "b.jpg") for style in ("wry", "calm")]
    assert known == [True, False, False, False]
    assert "x.jsonl, line 3: is cut short; its picture is captioned again" in caplog.text
    output.add(answered(wanted("a.jpg", "calm")))
    assert out.read_bytes() == b"".join(whole.splitlines(keepends=True)[1:])


def test_jsonl_whose_last_line_is_whole_but_for_its_end_stays(tmp_path):
    out = tmp_path / "x.jsonl"
    whole = write("jsonl", out, answered(wanted("a.jpg", "wry"))).encode()
    out.write_bytes(whole.rstrip())
    output = open_output("jsonl", Target(out, io.StringIO(), skip_existing=True))
    assert output.has(wanted("a.jpg"), "wry")
    output.add(answered(wanted("a.jpg", "calm")))
    assert [json.loads(line)["style"] for line in out.read_bytes().splitlines()] == ["wry", "calm"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"image": "a"}\n', "line 1: is no row of captions"),
        ('{"image": "a", "style": "wry"}\n', "line 1: is no row of captions"),  # a list of what is to be captioned
        ('{"x"\n{"image": "a"}\n', "line 1, column .*: not valid"),
    ],
)
def test_jsonl_of_something_else_is_left_alone(content, message, tmp_path):
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message):
        open_output("jsonl", Target(tmp_path / "x.jsonl", io.StringIO(), skip_existing=True))
    assert (tmp_path / "x.jsonl").read_text() == content


def test_format_follows_from_the_name_of_the_file(tmp_path):
    found = [format_for(None, Path(name)) for name in ("a.txt", "a.JSON", "a.jsonl", "a.csv", "a.htm", "captions")]
    assert found == ["text", "json", "jsonl", "csv", "html", "sidecar"]
    assert format_for(None, tmp_path) == "sidecar"
    assert format_for(None, None) == "text"
    with pytest.raises(ValueError, match=r"a.xml: .xml is the suffix of no format; known are .txt, .tsv, .json"):
        format_for(None, Path("a.xml"))
    with pytest.raises(ValueError, match="--format html: name the file with --out"):
        format_for("html", None)


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"jsonl", "sidecar"}))
def test_format_that_cannot_go_on_says_which_can(name, tmp_path):
    with pytest.raises(ValueError, match=f"goes on with files of the formats jsonl and sidecar, not with {name}"):
        open_output(name, Target(tmp_path / "x", io.StringIO(), skip_existing=True))


def test_jsonl_cut_anywhere_goes_on_with_every_reference_once(tmp_path):
    out = tmp_path / "x.jsonl"
    asked = (Request("calm", {"reference": "r"}), Request("wry"), Request("calm", {"reference": "s"}))
    picture = WantedPicture("a.jpg", Path("a.jpg"), "a.jpg", asked)
    whole = write("jsonl", out, answered(picture)).encode()
    for end in range(0, len(whole) + 1, 5):
        out.write_bytes(whole[:end])
        output = open_output("jsonl", Target(out, io.StringIO(), skip_existing=True))
        left = tuple(request for request in asked if not output.has(picture, request.style))
        if left:
            output.add(answered(replace(picture, requests=left)))
        assert sorted(out.read_bytes().splitlines()) == sorted(whole.splitlines()), end


@pytest.mark.parametrize("name", ["text", "json", "jsonl", "csv", "html", "sidecar"])
def test_place_where_no_file_can_be_made_is_refused_before_anything_is_captioned(name, tmp_path):
    (tmp_path / "file").write_text("precious")
    out = tmp_path / ("file" if name == "sidecar" else "file/more/x")
    with pytest.raises(ValueError, match="file: is a file; sidecar|x: no file can be made in .*file; name another"):
        open_output(name, Target(out, io.StringIO(), write_page=lambda path, answers: None))


def test_names_with_ends_of_lines_leave_rows_whole():
    answer = answered(wanted("a\nb\r\tc.jpg", "calm"))
    assert write("text", None, answer) == "a b  c.jpg\tcalm\ttea\n"
    rows = [*csv.DictReader(io.StringIO(write("csv", None, answer), newline=""))]
    assert [(row["image"], row["caption"]) for row in rows] == [("a\nb \tc.jpg", "tea")]


def test_sidecar_of_a_picture_with_a_long_name_is_written(tmp_path):
    name = "x" * 245
    write("sidecar", None, answered(wanted(f"{name}.jpg", "calm", folder=tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.txt"]


def test_sidecars_beside_pictures_in_a_folder_that_cannot_be_written_are_refused_first(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: path.name != "closed")
    (tmp_path / "closed").mkdir()
    pictures = [wanted("a.jpg", "wry", folder=tmp_path), wanted("b.jpg", "wry", folder=tmp_path / "closed")]
    with pytest.raises(ValueError, match=r"b.txt: no file can be made in .*closed; name another place with --out"):
        open_output("sidecar", Target(None, io.StringIO(), pictures))
    open_output("sidecar", Target(tmp_path / "new", io.StringIO(), pictures))
