from __future__ import annotations

import json

import pytest

from metrics.doubtful import find_doubts
from metrics.evaluate import main


@pytest.mark.parametrize(
    ("caption", "doubt"),
    [
        ("['a dog runs', 'a dog']", "lists written as text"),
        ("101 2023 2003 102", "numbers, as token ids are"),
        ("[0, 31414, 232, 2]", "numbers, as token ids are"),
        ("<s> a dog runs </s>", "tokens"),
        ("[CLS] a dog [SEP]", "tokens"),
        ("\u0120a \u0120dog", "tokens"),
        ("\u2581a \u2581dog", "tokens"),
        ("a pl ##ane", "tokens"),
        ("a pl@@ ane", "tokens"),
        ("a dog<|endoftext|>", "tokens"),
        ("一只狗在草地上奔跑", "in a script without spaces"),
        ("สุนัขวิ่งบนหญ้า", "in a script without spaces"),
    ],
)
def test_what_is_no_caption_is_counted_and_shown(caption, doubt):
    (found,) = find_doubts(["a dog", caption], by_words=True)
    assert found.startswith(f"1 of 2 captions are {doubt}")
    assert repr(caption) in found


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a dog",
        "2 dogs and 3 cats",
        "7",
        "route 66",
        "[laughs] oh",
        "a <3 heart",
        "2,5 m",
        "개가 잔디 위를 달린다",
        "a 狗",
    ],
)
def test_captions_are_not_doubted(caption):
    assert find_doubts([caption], by_words=True) == []


def test_script_without_spaces_is_no_doubt_where_characters_are_words():
    assert find_doubts(["一只狗"], by_words=False) == []


def test_doubts_are_told_and_stand_in_the_results(tmp_path, capsys):
    (tmp_path / "r.json").write_text(json.dumps({"1": ["a dog"], "2": ["a cat"]}))
    (tmp_path / "h.json").write_text(json.dumps({"1": "['a dog']", "2": "a cat"}))
    files = ["--references", str(tmp_path / "r.json"), "--hypotheses", str(tmp_path / "h.json")]
    assert main([*files, "--metrics", "Bleu_1"]) == 0
    out, error = capsys.readouterr()
    (doubt,) = json.loads(out)["provenance"]["doubtful"]
    assert "h.json: 1 of 2 captions are lists written as text" in doubt
    assert "h.json: 1 of 2 captions are lists written as text" in error
