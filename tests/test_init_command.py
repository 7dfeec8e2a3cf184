"""`finetune.py init`: a first configuration from files that nobody has described."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest

from configuration.loading import load_config
from finetune import main
from pipeline.starting import look_at_data, propose


@pytest.fixture
def place(scenes, tmp_path, monkeypatch) -> Path:
    """A folder of one's own with ``captions`` and ``shots`` in it."""
    shutil.copytree(scenes / "images", tmp_path / "shots")
    (tmp_path / "captions").mkdir()
    for name in ("train", "val"):
        shutil.copy(scenes / f"{name}.jsonl", tmp_path / "captions")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folder_of_captions_becomes_a_configuration_that_check_accepts(place, capsys):
    assert main(["init", "my.json", "--annotations", "captions"]) == 0
    answer = capsys.readouterr()
    assert answer.out == "my.json\n"
    assert "48 rows to train on and 12 to validate on (jsonl)" in answer.err
    assert "4 styles: " in answer.err
    config = load_config("my.json")
    assert (config.data.format, config.data.images, config.data.split) == ("jsonl", place / "shots", None)
    assert config.train.epochs == 30
    assert main(["check", "--conf", "my.json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["splits"] == {"train": 48, "val": 12}


def test_every_key_stands_behind_a_comment(place):
    assert main(["init", "my.json", "--annotations", "captions"]) == 0
    lines = Path("my.json").read_text().splitlines()
    keys = [number for number, line in enumerate(lines) if line.startswith('    "')]
    assert len(keys) > 6
    assert all(lines[number - 1].startswith("    // ") for number in keys)


def test_one_file_is_divided_and_the_name_for_no_style_is_found(place, capsys):
    for number in range(30):
        shutil.copy("shots/train_0000.png", f"shots/p{number}.png")
    rows = [
        {"image": f"p{number}.png", "style": style, "captions": [f"{style} words"]}
        for number in range(30)
        for style in ("factual", "pirate")
    ]
    shutil.rmtree("captions")
    Path("all.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert main(["init", "new/my.json", "--annotations", "all.jsonl", "--preset", "tiny"]) == 0
    config = load_config("new/my.json")
    assert (config.data.split, config.style.neutral, config.model.preset) == ("hash", "factual", "tiny")
    assert "jsonl, divided by hash" in capsys.readouterr().err


def test_model_to_start_from_is_trained_gently(scenes):
    groups = propose(look_at_data(scenes, None, None), "damo/ofa", None)
    assert groups["model"] == {"name": "damo/ofa"}
    assert (groups["train"]["lr"], groups["train"]["freeze"]) == (2e-5, ["vision"])


def test_path_of_the_captions_is_asked_for_on_a_terminal_only(place, monkeypatch, capsys):
    assert main(["init", "my.json"]) == 2
    assert "--annotations: give the file or folder of the captions" in capsys.readouterr().err
    terminal = io.StringIO("\ncaptions\n")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    assert main(["init", "my.json"]) == 0
    assert load_config("my.json").data.format == "jsonl"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--annotations", "nowhere"], "nowhere: there is no such file or folder"),
        (["--annotations", "shots/train_0000.png"], "in no form that is known; name it with --format: flickrstyle"),
        (["--annotations", "captions", "--format", "coco"], "captions"),
        (["--annotations", "captions", "--format", "cocoa"], "--format cocoa: unknown; known: flickrstyle"),
        (["--annotations", "captions/val.jsonl", "--images", "shots", "--format", "csv"], "val.jsonl"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_is_written(place, arguments, told, capsys):
    assert main(["init", "my.json", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not Path("my.json").exists()


def test_pictures_that_are_nowhere_and_a_file_that_is_there_are_refused(place, capsys):
    shutil.rmtree("shots")
    assert main(["init", "my.json", "--annotations", "captions"]) == 2
    assert "has train_0000.png; name that of the pictures: --images" in capsys.readouterr().err
    Path("my.json").write_text("mine")
    assert main(["init", "my.json", "--annotations", "captions"]) == 2
    assert Path("my.json").read_text() == "mine"


def test_comments_are_passed_over_and_places_in_messages_stay_right(tmp_path):
    file = tmp_path / "conf.json"
    file.write_text(
        '// mine\n{\n  // "model": 1\n  "model": {"name": "http://a//b"},\n  "data": {"format": "drawn_scenes"}\n}\n'
    )
    assert load_config(file).model.name == "http://a//b"
    file.write_text('// mine\n{\n  // a\n  "model": {"name": }\n}\n')
    with pytest.raises(ValueError, match=r"conf.json, line 4, column "):
        load_config(file)
