"""``finetune.py sample``: texts of a language model, their settings beside them; and ``finetune.py lm``."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

import finetune
from models.style_lm import StyleLM
from preprocessors.documents.training import train_tokenizer
from preprocessors.text.styles import StyleRegistry
from utils import exit_codes


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    tokenizer = train_tokenizer(["a dog in the snow", "a red hen on the roof"], 280)
    path = tmp_path_factory.mktemp("lm") / "output"
    StyleLM.new(tokenizer, StyleRegistry(["pirate"]), positions=40, seed=2).save_to_dir(path)
    return path


@pytest.fixture
def sample(folder, capsys):
    """What the command prints, and its exit code."""

    def call(*options: str) -> tuple[list[str], int]:
        code = finetune.main(["sample", "--model", str(folder), *options])
        said = capsys.readouterr()
        return (said.out or said.err).splitlines(), code

    return call


def test_sample_prints_settings_then_texts_that_begin_with_the_prompt(sample):
    lines, code = sample("--meta", "Pirate", "--prompt", "a dog ", "--num", "3", "--length", "6", "--top-k", "5")
    assert code == exit_codes.FINISHED
    settings = json.loads(lines[0])["settings"]
    assert (settings["meta"], settings["prompt"], settings["max_length"], settings["top_k"]) == (
        "Pirate",
        "a dog",
        6,
        5,
    )
    assert (settings["temperature"], settings["seed"]) == (1.0, 0)
    texts = [line for line in lines[1:] if line.startswith("[")]
    assert [text[:9] for text in texts] == [f"[{number}] a dog" for number in (1, 2, 3)]


def test_sample_json_has_the_settings_beside_each_text_and_batches_change_nothing(sample):
    options = ("--num", "5", "--length", "7", "--json", "--seed", "3")
    whole, _ = sample(*options)
    parts, _ = sample(*options, "--batch-size", "2")
    assert whole == parts
    rows = [json.loads(line) for line in whole]
    assert len({row["text"] for row in rows}) > 1
    assert all(row["settings"]["seed"] == 3 and isinstance(row["ended"], bool) for row in rows)
    assert sample("--num", "5", "--length", "7", "--json", "--seed", "4")[0] != whole


def test_sample_is_as_long_as_the_model_has_positions_for_unless_asked_otherwise(sample):
    settings = json.loads(sample("--num", "1")[0][0])["settings"]
    assert settings["max_length"] == 40
    for wrong, message in [
        (("--length", "41"), "41 tokens: the language model has positions for 40; shorten it"),
        (("--meta", "pirat"), "unknown style 'pirat'; nearest: pirate"),
        (("--top-p", "0"), "top_p=0.0: must be above 0 and at most 1"),
        (("--device", "cuda:99"), "device='cuda:99': cannot be used"),
    ]:
        lines, code = sample(*wrong)
        assert code == exit_codes.BAD_INPUT
        assert message in lines[0]
        assert len(lines) == 1


def test_sample_interactive_asks_again_with_the_next_seed_and_outlives_faults(sample, monkeypatch):
    answers = "pirat\na dog\npirate\n\n-\n-\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(answers))
    lines, code = sample("--interactive", "--num", "1", "--length", "4")
    assert code == exit_codes.FINISHED
    told = [json.loads(line[line.index("{") :])["settings"] for line in lines if "{" in line]
    assert [(row["meta"], row["prompt"], row["seed"]) for row in told] == [("pirate", "a dog", 0), (None, "", 1)]
    assert any("unknown style 'pirat'" in line for line in lines)


def test_sample_of_a_captioner_is_refused(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "ofa"}')
    assert finetune.main(["sample", "--model", str(tmp_path)]) == exit_codes.BAD_INPUT
    assert "holds no tokenizer" in capsys.readouterr().err


def test_lm_is_train_with_the_task_text(tmp_path, capsys):
    conf = tmp_path / "conf.json"
    conf.write_text(
        json.dumps({"model": {"preset": "nano"}, "data": {"format": "drawn_scenes"}, "scst": {"enabled": True}})
    )
    assert finetune.main(["lm", "--conf", str(conf)]) == exit_codes.BAD_INPUT
    assert "scst.enabled=true: not used with task text" in capsys.readouterr().err
