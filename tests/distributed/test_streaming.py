"""Streamed shards on two processes: they share every step's rows, and go on where they stopped."""

from __future__ import annotations

import json

import pytest
import torch

from tests.container_files import streamed_document


@pytest.fixture
def run(launch, tiny_document, scenes, tmp_path):
    """Trains on so many processes, pausing where that is said; gives the weights."""
    tiny_document["model"]["overrides"]["dropout"] = 0.0
    document = streamed_document(tiny_document, scenes, tmp_path / "data")

    def train(name, processes, *pauses, **settings):
        place = tmp_path / f"{name}.json"
        changed = document["train"] | {"freeze": ["batch_norm"]} | settings
        place.write_text(json.dumps(document | {"work_dir": str(tmp_path / name), "train": changed}))
        for pause in (*pauses, None):
            options = [] if pause is None else ["--pause_after", pause]
            done = launch("finetune.py", "--conf", place, *options, processes=processes)
            assert done.returncode == 0, done.stderr[-3000:]
            assert done.stdout.startswith('{"paused"') == (pause is not None)
        return torch.load(tmp_path / name / "output/pytorch_model.bin", weights_only=True)

    return train


@pytest.mark.slow
def test_two_processes_train_on_the_rows_of_one_and_go_on_after_a_pause(run):
    """Two with two workers each against one that accumulates twice as much."""
    two = run("two", 2, accumulation_steps=1, num_workers=2)
    paused = run("paused", 2, "1.5", accumulation_steps=1, num_workers=2)
    assert all(torch.equal(tensor, paused[name]) for name, tensor in two.items())
    one = run("one", 1)
    # Sums of the same terms in another order, through eight steps of Adam at a rate of 2e-3.
    assert all((tensor.float() - one[name].float()).abs().max() <= 1e-5 for name, tensor in two.items())
