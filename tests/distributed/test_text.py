"""A text run on two processes learns what it learns on one with the same global batch."""

from __future__ import annotations

import json
import random

import pytest
from safetensors.torch import load_file

from utils.io import read_jsonl


@pytest.mark.slow
@pytest.mark.parametrize("sequence", [0.0, 0.5])
def test_text_run_on_two_processes_has_the_losses_of_one(launch, tmp_path, sequence):
    """Documents of different lengths, more than half a row each: 24 rows, so that no process takes one twice."""
    documents, generator = tmp_path / "train.jsonl", random.Random(3)
    texts = ["".join(generator.choices("abcdefghijklmnopqrst", k=52 + 2 * n)) for n in range(24)]
    documents.write_text("".join(json.dumps({"body": text}) + "\n" for text in texts))
    found = []
    for processes, rows in ((1, 4), (2, 2)):
        run = tmp_path / f"run{processes}"
        conf = {"task": "text", "model": {"preset": "nano", "bpe_size": 300}, "work_dir": str(run)}
        conf |= {
            "documents": {"format": "jsonl", "train": str(documents), "max_body_len": 46},
            "lm": {"positions": 48, "dropout": 0.0, "sample_num": 0},
        }
        conf |= {"train": {"batch_size": rows, "epochs": 2, "lr": 1e-3}, "unlikelihood": {"sequence": sequence}}
        (tmp_path / "conf.json").write_text(json.dumps(conf))
        done = launch("finetune.py", "lm", "--conf", tmp_path / "conf.json", processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
        metrics = [row for _, row in read_jsonl(run / "metrics.jsonl")]
        losses = [(row["global_step"], row[key]) for row in metrics for key in ("train/loss", "val/nll") if key in row]
        found.append((losses, json.loads(done.stdout)["overall"]["loss"], load_file(run / "output/model.safetensors")))
    (one, loss, weights), (two, other_loss, other_weights) = found
    assert len(one) > 3
    assert [step for step, _ in two] == [step for step, _ in one]
    assert [value for _, value in two] == pytest.approx([value for _, value in one], rel=1e-5)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    # Sums of the same terms in another order, through Adam at a rate of 1e-3.
    assert all((tensor - other_weights[name]).abs().max() <= 1e-5 for name, tensor in weights.items())
