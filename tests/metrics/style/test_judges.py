"""The benchmark of the style judges, on corpora of a few rows in the shape of the real ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import style_judges
from utils.io import write_json


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = [
        {"flickr8k_split": split, "humorous": f"Dog {i} eats homework!", "romantic": f"Dog {i} finds its love."}
        for split, number in (("train", 9), ("dev", 4), ("test", 2))
        for i in range(number)
    ]
    write_json(tmp_path / "flickrstyle" / "captions.json", rows)
    images = [
        {
            "split": split,
            "sentences": [{"raw": "a great dog", "sentiment": 1}, {"raw": f"an ugly dog {i}", "sentiment": 0}],
        }
        for split, number in (("train", 6), ("val", 3), ("test", 5))
        for i in range(number)
    ]
    write_json(tmp_path / "senticap" / "senticap.json", {"images": images})
    folder = tmp_path / "personality_captions"
    write_json(folder / "personalities.json", {"positive": ["Sweet"], "negative": ["Cruel"]})
    comments = {"Sweet": "How sweet", "Cruel": "I hate it", "Crude": "Unknown here"}
    comments_of = [
        {"personality": name, "comment": comments[name], "image_hash": f"{name}{i}"}
        for name in comments
        for i in range(50)
    ]
    unusable = [{"personality": "Sweet", "comment": text, "image_hash": "x"} for text in ("[TIMEOUT]", "", " ")]
    write_json(folder / "pcap_test_derived.json", comments_of)
    write_json(folder / "pcap_valid_derived.json", unusable)
    return tmp_path


def test_style_judges_prints_one_object_with_both_judges(data, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["style_judges.py", "--data", str(data)])
    style_judges.main()

    result = json.loads(capsys.readouterr().out)
    for name, train, test in (("flickrstyle", 18, 8), ("senticap", 18, 10)):
        assert (result[name]["train_captions"], result[name]["held_out_captions"]) == (train, test)
        assert result[name]["accuracy"] == result[name]["baseline_accuracy"] == 1
        assert result[name]["chance"] == 0.5
    personality = result["personality_captions"]
    assert personality["styles"] == 2
    assert personality["train_captions"] + personality["held_out_captions"] == 100
    assert personality["held_out_captions"] > 0


def test_read_personality_captions_leaves_out_unknown_personalities_and_comments_that_say_nothing(data):
    train, test = style_judges.read_personality_captions(data)

    assert set(train) == set(test) == {"Sweet", "Cruel"}
    assert {caption for captions in train.values() for caption in captions} == {"how sweet", "i hate it"}
