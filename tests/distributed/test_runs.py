"""Runs of the real program on two processes: pausing, resuming, and ending together."""

from __future__ import annotations

import time

import pytest
import torch

from trainers.sharding import SWITCH

MODES = {"whole": {}, "sharded": {SWITCH: "true"}}


def _weights(run):
    return torch.load(run / "output/pytorch_model.bin", weights_only=True)


@pytest.mark.slow  # whole: as tests/faults/test_stops.py does with signals
@pytest.mark.parametrize("mode", ["whole", "sharded"])
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


@pytest.mark.slow
def test_rank_that_is_short_of_memory_makes_both_divide_their_batches(launch, write, tiny_document, tmp_path):
    """The other rank has memory enough, and hears of it before gradients are added up."""
    tiny_document["model"]["overrides"]["dropout"] = 0.0
    train = {"batch_size": 4, "epochs": 1, "freeze": ["batch_norm"]}
    runs = [write(name, train=train) for name in ("enough", "short")]
    for conf, program in zip(runs, (["finetune.py"], ["tests/distributed/short_of_memory.py", "1"]), strict=True):
        done = launch(*program, "--conf", conf)
        assert done.returncode == 0, done.stderr[-3000:]
    assert "training: 4 rows at once do not fit into memory" in done.stderr
    assert "going on with 2" in done.stderr
    # Gloo's threads abort the interpreter now and then, if they live on until its end.
    threads = [line for line in done.stderr.splitlines() if "threads at the end" in line]
    assert len(threads) == 2
    assert "gloo" not in "".join(threads)
    enough, short = _weights(tmp_path / "enough"), _weights(tmp_path / "short")
    # Sums of the same terms in another order, through six steps of Adam at a rate of 2e-3.
    assert all((tensor.float() - short[name].float()).abs().max() <= 1e-5 for name, tensor in enough.items())


@pytest.mark.parametrize(
    ("rank", "place"),
    [
        pytest.param(0, "scores", marks=pytest.mark.slow),
        (1, "captions"),
        pytest.param(0, "output", marks=pytest.mark.slow),
    ],
)
def test_fault_of_one_process_ends_the_other_soon(launch, write, rank, place):
    conf = write("run", train={"batch_size": 12, "epochs": 1})
    start = time.monotonic()
    done = launch("tests/distributed/faulty.py", str(rank), place, "--conf", conf)
    assert time.monotonic() - start < 60
    assert done.returncode == 1  # torchrun's, whatever a process ends with
    assert "error: a fault for the test" in done.stderr
    assert "[rank" not in done.stderr, done.stderr[-3000:]  # no traceback of a process
