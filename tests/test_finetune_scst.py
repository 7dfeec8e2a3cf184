"""Self-critical training from the command line: what it refuses, and that it then has written nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import finetune
from metrics.scores.document_frequency import EOS, DocumentFrequency
from utils.io import read_jsonl


def _refused(document: dict[str, Any], start: Path, tmp_path: Path, capsys: Any, *arguments: str) -> str:
    conf = tmp_path / "scst.json"
    conf.write_text(json.dumps(document | {"model": {}, "work_dir": str(tmp_path / "new" / "run")}))
    assert finetune.main(["--conf", str(conf), "--cider", "--checkpoint", str(start), *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert not (tmp_path / "new").exists()
    return captured.err


def _copy_rows(document: dict[str, Any], folder: Path, **changed: Any) -> dict[str, Any]:
    """The document over a copy of its annotations whose second training row is changed."""
    source = Path(document["data"]["annotations"])
    folder.mkdir()
    for name in ("train.jsonl", "val.jsonl"):
        rows = [row for _, row in read_jsonl(source / name)]
        if name == "train.jsonl":
            rows[1] |= changed
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return document | {"data": document["data"] | {"annotations": str(folder)}}


def test_reference_without_a_word_is_refused(tiny_document, start_model, tmp_path, capsys):
    document = _copy_rows(tiny_document, tmp_path / "rows", captions=["...", " ! "])
    error = _refused(document, start_model, tmp_path, capsys)
    assert "1 of 48 training rows have no reference to reward against" in error
    assert "train.jsonl, row 2: captions without a word" in error


def test_row_without_captions_is_refused(tiny_document, start_model, tmp_path, capsys):
    document = _copy_rows(tiny_document, tmp_path / "rows", captions=[])
    assert "train.jsonl, row 2" in _refused(document, start_model, tmp_path, capsys)


@pytest.mark.parametrize(("tokenizer", "eos"), [("split at spaces", EOS), (None, None)])
def test_document_frequency_of_another_tokenizer_or_end_is_refused(
    tiny_document, start_model, tmp_path, capsys, tokenizer, eos
):
    from metrics.tokenizers.ptb import TOKENIZER_NAME

    file = tmp_path / "df.npz"
    counted = DocumentFrequency.from_references([["a dog"]], tokenizer=tokenizer or TOKENIZER_NAME, eos=eos)
    counted.save(file)
    document = tiny_document | {"scst": {"document_frequency": str(file)}}
    error = _refused(document, start_model, tmp_path, capsys)
    assert f"{file}: counted with tokenizer {tokenizer or TOKENIZER_NAME!r}" in error


def test_missing_document_frequency_and_missing_model_are_refused(tiny_document, start_model, tmp_path, capsys):
    document = tiny_document | {"scst": {"document_frequency": str(tmp_path / "none.npz")}}
    assert "none.npz: no such file" in _refused(document, start_model, tmp_path, capsys)
    assert "nowhere" in _refused(tiny_document, tmp_path / "nowhere", tmp_path, capsys)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("scst.num_samples=1", "leave_one_out needs at least 2"),
        ("scst.rewards.ciderd=1", "cider_d"),
        ("train.lr_end=1", "the learning rate would rise"),
        ("scst.top_p=0", "scst.top_p"),
        ("style.dropout=0.1", "not used in self-critical training"),
        ('scst.rewards={"style": 0}', "reward"),
        ("masked_lm.corpus=corpus.jsonl", "masked_lm.weight"),
    ],
)
def test_setting_that_cannot_work_is_refused(tiny_document, start_model, tmp_path, capsys, setting, message):
    error = _refused(tiny_document, start_model, tmp_path, capsys, "--set", setting)
    assert message in error


def test_style_reward_with_a_single_style_is_refused(tiny_document, start_model, tmp_path, capsys):
    document = tiny_document | {"scst": {"rewards": {"style": 1.0}}}
    document["data"] = document["data"] | {"styles": ["pirate"]}
    error = _refused(document, start_model, tmp_path, capsys)
    assert "it takes two to tell them apart" in error


def test_corpus_with_a_style_that_the_model_lacks_is_refused(tiny_document, start_model, tmp_path, capsys):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"body": "avast ye", "meta": "pirate"}\n{"body": "the moon weeps", "meta": "gothic"}\n')
    document = tiny_document | {"masked_lm": {"weight": 0.5, "corpus": str(corpus)}}
    assert "not in the model: gothic" in _refused(document, start_model, tmp_path, capsys)


def test_short_run_is_rewarded_by_meteor(tiny_document, start_model, tmp_path):
    rewards = {"cider_d": 1.0, "meteor": 1.0}
    train = tiny_document["train"] | {"epochs": 1}
    document = tiny_document | {"model": {}, "work_dir": str(tmp_path / "run"), "train": train}
    conf = tmp_path / "scst.json"
    conf.write_text(json.dumps(document | {"scst": {"rewards": rewards, "num_samples": 2}}))

    assert finetune.main(["--conf", str(conf), "--cider", "--checkpoint", str(start_model)]) == 0

    rows = [row for _, row in read_jsonl(tmp_path / "run" / "metrics.jsonl")]
    steps = [row for row in rows if "train/reward/meteor" in row]
    assert steps
    for row in steps:
        assert 0 <= row["train/reward/meteor"] <= 1
        assert row["train/reward"] == pytest.approx(row["train/reward/cider_d"] + row["train/reward/meteor"], abs=1e-6)
