"""Runs of the real program on two processes: pausing, resuming, and ending together."""

from __future__ import annotations

import time

import pytest
import torch

from trainers.sharding import SWITCH

MODES = {"whole": {}, "sharded": {SWITCH: "true"}}


def _weights(run):
    return torch.load(run / "output/pytorch_model.bin", weights_only=True)


@pytest.mark.parametrize("mode", ["whole", pytest.param("sharded", marks=pytest.mark.slow)])
def test_paused_run_on_two_processes_goes_on_as_if_it_never_paused(launch, write, tmp_path, mode):
    """With dropout, from a checkpoint between two epochs; the same command goes on."""
    train = {"batch_size": 12, "epochs": 2}
    for name, pauses in (("straight", [[]]), ("paused", [["--pause_after", "1"], []])):
        conf = write(name, train=train)
        for pause in pauses:
            done = launch("finetune.py", "--conf", conf, *pause, environment=MODES[mode])
            assert done.returncode == 0, done.stderr[-3000:]
            assert done.stdout.startswith('{"paused"') == bool(pause)
    straight, paused = _weights(tmp_path / "straight"), _weights(tmp_path / "paused")
    assert straight.keys() == paused.keys()
    assert all(torch.equal(tensor, paused[name]) for name, tensor in straight.items())


@pytest.mark.parametrize(
    ("rank", "place"), [pytest.param(0, "scores", marks=pytest.mark.slow), (1, "captions"), (0, "output")]
)
def test_fault_of_one_process_ends_the_other_soon(launch, write, rank, place):
    conf = write("run", train={"batch_size": 12, "epochs": 1})
    start = time.monotonic()
    done = launch("tests/distributed/faulty.py", str(rank), place, "--conf", conf)
    assert time.monotonic() - start < 60
    assert done.returncode == 1  # torchrun's, whatever a process ends with
    assert "error: a fault for the test" in done.stderr
    assert "[rank" not in done.stderr, done.stderr[-3000:]  # no traceback of a process
