from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metrics.build_df import main
from metrics.scores.document_frequency import EOS, DocumentFrequency
from metrics.tokenizers.ptb import TOKENIZER_NAME
from utils.io import write_json

REPOSITORY = Path(__file__).resolve().parents[2]
REFERENCES = {"1.jpg": ["A dog, running.", "Two dogs!"], "2.jpg": ["A cat."]}


@pytest.fixture
def references(tmp_path) -> Path:
    write_json(tmp_path / "train.json", REFERENCES)
    return tmp_path / "train.json"


def build(capsys, *arguments: str | Path) -> dict:
    code = main(["build-df", *map(str, arguments)])
    out, _ = capsys.readouterr()
    assert code == 0
    assert out.count("\n") == 1
    return json.loads(out)


def test_build_df_counts_examples_of_tokenised_captions(references, tmp_path, capsys):
    out = tmp_path / "new" / "df.npz"

    told = build(capsys, "--references", references, "--out", out)

    documents = DocumentFrequency.load(out, tokenizer=TOKENIZER_NAME, eos=EOS)
    # a, dog, running, two, dogs, cat, <eos>; 3 + 2 + 2 pairs and 2 + 1 + 1 triples with it, of which none is shared;
    # "a dog running <eos>".
    assert told == {
        "out": str(out), "ngrams": 7 + 7 + 4 + 1, "documents": 2, "tokenizer": TOKENIZER_NAME, "eos": "<eos>",
        "references": [str(references)],
    }  # fmt: skip
    assert documents.tree.size == told["ngrams"]
    assert [documents.lookup(text) for text in ("a", "<eos>", "a dog running <eos>", "dog .")] == [2, 2, 1, 0]


@pytest.mark.parametrize("option", ["--no-eos", "--eos=end"])
def test_build_df_has_no_other_end_of_caption(references, tmp_path, capsys, option):
    with pytest.raises(SystemExit, match="2"):
        main(["build-df", "--references", str(references), "--out", str(tmp_path / "df.npz"), option])
    assert f"unrecognized arguments: {option}" in capsys.readouterr().err
    assert not (tmp_path / "df.npz").exists()


def test_build_df_every_example_of_every_file_is_a_document(references, tmp_path, capsys):
    rows = [
        {"image_id": 1, "style": "happy", "caption": "a lovely dog"},
        {"image_id": 1, "style": "sad", "caption": "a lonely dog"},
    ]
    write_json(tmp_path / "more.json", {"annotations": rows})

    told = build(capsys, "--references", references, tmp_path / "more.json", "--out", tmp_path / "df.npz")

    documents = DocumentFrequency.load(tmp_path / "df.npz", tokenizer=TOKENIZER_NAME, eos=EOS)
    assert told["documents"] == 4
    assert [documents.lookup(text) for text in ("a", "dog <eos>", "lonely")] == [4, 2, 1]


def test_build_df_equals_what_training_counts(references, tmp_path, capsys):
    from preprocessors.examples import CaptionExample
    from trainers.rewards.setup import tokenize_references, training_document_frequency

    examples = [CaptionExample(key, Path(key), "happy", tuple(texts)) for key, texts in REFERENCES.items()]
    counted = training_document_frequency(tokenize_references(examples), tmp_path / "cache", None)
    build(capsys, "--references", references, "--out", tmp_path / "df.npz")

    counted.save()
    assert counted.cache_file.read_bytes() == (tmp_path / "df.npz").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--references", "none.json", "--out", "new/df.npz"], "none.json: no such file"),
        (["--references", "train.json", "bare.json", "--out", "new/df.npz"], "without any reference text"),
        (["--references", "dots.json", "--out", "new/df.npz"], "1 id ('3.jpg') without a word in any caption"),
        (["--references", "train.json", "--out", "new/df.p"], "new/df.p: must end in .npz"),
        (["--references", "train.json", "--out", "folder.npz"], "folder.npz: is a folder"),
        (["--references", "train.json", "--out", "train.json/df.npz"], "its folder cannot be made"),
        (["--references", "train.npz", "--out", "train.npz"], "is one of the files to read"),
    ],
)
def test_build_df_bad_input_is_refused_and_nothing_written(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    for name, caption in {"train.json": "a dog", "train.npz": "a dog", "bare.json": " ", "dots.json": "..."}.items():
        write_json(tmp_path / name, {"3.jpg": [caption]})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}

    code = main(["build-df", *arguments])

    out, error = capsys.readouterr()
    assert (code, out) == (2, "")
    assert error.startswith("error: ")
    assert message in error
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_build_df_runs_as_a_command_of_metrics_cider(references, tmp_path):
    command = [sys.executable, "-m", "metrics.cider", "build-df", "--references", references, "--out", "df.npz"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["documents"] == 2
    assert (tmp_path / "df.npz").is_file()
