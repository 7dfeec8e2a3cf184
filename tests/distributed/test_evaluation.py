"""An evaluation on several processes is the evaluation of one."""

from __future__ import annotations

import json

import pytest

PROGRAM = "tests/distributed/shards.py"


@pytest.fixture
def document(write):
    # So that captions of an untrained model differ.
    return write("run", model={"overrides": {"d_model": 32, "resnet_width": 4, "init_std": 0.5}})


def test_captions_and_validation_of_any_split_are_those_of_one_process(launch, document, tmp_path):
    """Odd counts, batches smaller and larger than the split, fewer rows or batches than processes."""
    found = {}
    for processes in (1, 3):
        out = tmp_path / f"{processes}.json"
        done = launch(PROGRAM, document, out, processes=processes)
        assert done.returncode == 0, done.stderr[-3000:]
        found[processes] = json.loads(out.read_bytes())
    assert len({caption for _, caption in found[1]["12 rows by 8"]["captions"]}) > 1
    assert found[3] == found[1]
