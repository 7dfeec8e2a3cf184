"""Preference training from the command line: what it refuses, and that it then has written nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import finetune
from utils.io import read_jsonl


@pytest.fixture
def pair(scenes: Path) -> dict[str, str]:
    """A pair that can be learnt."""
    row = next(row for _, row in read_jsonl(scenes / "train.jsonl"))
    return {"image": row["image"], "style": row["style"], "chosen": "a red dog runs", "rejected": "dog a dog"}


def _refused(document: dict[str, Any], start: Path, tmp_path: Path, capsys: Any, *arguments: str) -> str:
    conf = tmp_path / "dpo.json"
    conf.write_text(json.dumps(document | {"model": {}, "work_dir": str(tmp_path / "new" / "run")}))
    assert finetune.main(["--conf", str(conf), "--checkpoint", str(start), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert not (tmp_path / "new").exists()
    return captured.err


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"style": "piraet"}, "line 2: unknown style 'piraet'; nearest: pirate"),
        ({"chosen": None}, "line 2: 'chosen' must be text, got None"),
        ({"rejected": "a red dog runs!"}, "line 2: 'chosen' and 'rejected' are the same caption to the model"),
        ({"image": "nowhere.png"}, "nowhere.png (1 of 2 pairs have none)"),
    ],
)
def test_pair_that_cannot_be_learnt_is_refused_with_its_line(
    tiny_document, start_model, tmp_path, capsys, pair, changed, message
):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(pair) + "\n" + json.dumps(pair | changed) + "\n")
    document = tiny_document | {"preference": {"enabled": True, "pairs": str(path)}}
    error = _refused(document, start_model, tmp_path, capsys)
    assert message in error
    assert f"{path}, line 2" in error


def test_pair_without_a_field_and_missing_file_are_refused(tiny_document, start_model, tmp_path, capsys, pair):
    path = tmp_path / "pairs.jsonl"
    del pair["rejected"]
    path.write_text(json.dumps(pair) + "\n")
    document = tiny_document | {"preference": {"enabled": True, "pairs": str(path)}}
    error = _refused(document, start_model, tmp_path, capsys)
    assert f"{path}, line 1: 'rejected' is missing (keys: image, style, chosen). Each line must be" in error
    path.unlink()
    assert "pairs.jsonl: no such file" in _refused(document, start_model, tmp_path, capsys)


def test_picture_of_a_pair_that_cannot_be_read_is_refused(tiny_document, start_model, scenes, tmp_path, capsys, pair):
    images = tmp_path / "images"
    images.mkdir()
    for picture in (scenes / "images").iterdir():
        (images / picture.name).write_bytes(picture.read_bytes())
    (images / "broken.png").write_bytes(b"no picture")
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(pair | {"image": "broken.png"}) + "\n")
    document = tiny_document | {"preference": {"enabled": True, "pairs": str(path)}}
    document["data"] = document["data"] | {"images": str(images)}
    error = _refused(document, start_model, tmp_path, capsys)
    assert f"{path}, row 1: " in error
    assert "broken.png" in error


def test_preference_together_with_rewards_is_refused(tiny_document, start_model, tmp_path, capsys):
    document = tiny_document | {"preference": {"enabled": True}}
    error = _refused(document, start_model, tmp_path, capsys, "--cider")
    assert "preference.enabled=true: a run learns from pairs or from rewards, not both" in error
