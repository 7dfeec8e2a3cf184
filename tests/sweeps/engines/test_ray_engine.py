"""The engine for Ray on a cluster of this machine: crashes, lost workers, and that nothing is left behind."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sweeps.engines import local
from sweeps.engines.ray_cluster import check_nodes, resources_of
from sweeps.engines.ray_engine import LOST, RayEngine, trial_environment
from sweeps.trials.jobs import Job, Outcome
from sweeps.trials.slots import Slot, parse_slots

# Does in its n-th start what the n-th argument says: ends with that code, ends its worker in one of two ways, or stays.
PROGRAM = """
import os, psutil, sys, time
path, *turns = sys.argv[1:]
with open(path, "a") as file:
    devices, threads = os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"]
    file.write(f"{os.getcwd()};{devices};{threads};{os.getpid()}\\n")
turn = turns[len(open(path).readlines()) - 1]
worker = psutil.Process().parent().parent()
if turn in ("kill", "terminate"):
    getattr(worker, turn)()
if turn in ("kill", "terminate", "stay"):
    time.sleep(60)
print("broken", flush=True)
sys.exit(int(turn))
"""
TURNS = {
    "good": ["0"],
    "bad_input": ["2"],
    "crashes_twice": ["3", "3"],
    "loses_worker": ["kill", "3", "0"],
    "crashes_and_loses_worker": ["3", "terminate", "3"],
}


class Notes:
    """A watcher that remembers, and may behave as Ctrl-C does once so many jobs run."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.events: list[tuple[str, str, int]] = []
        self.slots: set[Slot] = set()
        self.ticks = 0
        self.stop_at = stop_at

    def started(self, job: Job, slot: Slot, starts: int) -> None:
        self.events.append(("started", job.name, starts))
        self.slots.add(slot)

    def ended(self, job: Job, outcome: Outcome, *, again: bool) -> None:
        self.events.append(("again" if again else "ended", job.name, outcome.code))

    def tick(self) -> None:
        self.ticks += 1
        if len(self.events) == self.stop_at:
            raise KeyboardInterrupt


def job_of(folder: Path, name: str, turns: list[str]) -> Job:
    return Job(name, (str(folder / f"{name}.txt"), *turns), folder / f"logs/{name}.log")


def pids_of(folder: Path) -> list[int]:
    return [int(line.split(";")[-1]) for path in folder.glob("*.txt") for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    pytest.importorskip("ray.tune")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # Ray keeps a secret there
        patch.setenv("OMP_NUM_THREADS", "3")
        patch.setattr(local, "finetune_command", lambda job, processes: [sys.executable, "-c", PROGRAM, *job.arguments])
        yield tmp_path_factory.mktemp("ray")


@pytest.fixture(scope="module")
def run(home: Path) -> tuple[dict[str, Outcome], Notes, str, Path]:
    notes, printed = Notes(), io.StringIO()
    folder = home / "run"
    folder.mkdir()
    engine = RayEngine(parse_slots("cpu,cpu,cpu"), 1, notes, "local")
    with contextlib.redirect_stdout(printed):
        outcomes = engine.run([job_of(folder, name, turns) for name, turns in TURNS.items()])
    return outcomes, notes, printed.getvalue(), folder


def test_jobs_end_as_they_ended_last_and_crashes_are_started_again_once(run):
    outcomes, *_ = run
    assert {name: (outcome.code, outcome.starts) for name, outcome in outcomes.items()} == {
        "good": (0, 1),
        "bad_input": (2, 1),
        "crashes_twice": (3, 2),
        "loses_worker": (0, 3),  # one retry for the crash; the lost worker took none
        "crashes_and_loses_worker": (3, 3),  # the retry had been taken when the worker was lost
    }
    assert outcomes["crashes_twice"].message == "exit code 3: broken"


def test_watcher_hears_of_each_start_and_end_in_order(run):
    _, notes, _, _ = run
    heard = {name: [event for event in notes.events if event[1] == name] for name in TURNS}
    assert heard["loses_worker"] == [
        ("started", "loses_worker", 1),
        ("again", "loses_worker", LOST),
        ("started", "loses_worker", 2),
        ("again", "loses_worker", 3),
        ("started", "loses_worker", 3),
        ("ended", "loses_worker", 0),
    ]
    assert [kind for kind, _, _ in heard["crashes_and_loses_worker"]] == ["started", "again"] * 2 + ["started", "ended"]
    assert notes.ticks > len(notes.events)
    assert len(notes.slots) == 1  # one node


def test_jobs_run_where_the_sweep_runs_and_see_no_gpu(run):
    *_, folder = run
    lines = [line for path in folder.glob("*.txt") for line in path.read_text().splitlines()]
    assert {line.rsplit(";", 1)[0] for line in lines} == {f"{os.getcwd()};;3"}
    assert len(lines) == 1 + 1 + 2 + 3 + 3


def test_ray_prints_nothing_and_leaves_no_process(run):
    _, _, printed, folder = run
    assert printed == ""
    assert not [pid for pid in pids_of(folder) if psutil.pid_exists(pid)]
    assert not psutil.Process().children(recursive=True)


def test_interrupt_ends_what_runs_before_it_is_passed_on(home):
    folder = home / "interrupted"
    folder.mkdir()
    engine = RayEngine(parse_slots("cpu,cpu"), 1, Notes(stop_at=2), "local")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        engine.run([job_of(folder, name, ["stay"]) for name in ("first", "second", "third")])
    assert time.monotonic() - began < 60  # else the jobs have ended by themselves
    assert not [pid for pid in pids_of(folder) if psutil.pid_exists(pid)]
    assert not psutil.Process().children(recursive=True)


def test_engine_where_nothing_answers_refuses_the_address(home):
    engine = RayEngine([Slot(("cpu",))], 1, Notes(), "127.0.0.2:1")
    with pytest.raises(ValueError, match=r"--address 127\.0\.0\.2:1: no Ray cluster answers there"):
        engine.run([job_of(home, "never", ["0"])])
    assert not (home / "never.txt").exists()


def test_engine_with_client_address_refuses_it(home):
    with pytest.raises(ValueError, match="ray://head:10001: is the address of a Ray Client server"):
        RayEngine([Slot(("cpu",))], 1, Notes(), "ray://head:10001")


def test_engine_with_unequal_slots_refuses_them(home):
    with pytest.raises(ValueError, match=r"GPU_IDS=0,cpu: on Ray all trials get the same"):
        RayEngine(parse_slots("0,cpu"), 1, Notes())


def test_engine_without_ray_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "ray.tune", None)
    with pytest.raises(ValueError, match="Ray is not installed; run .venv/bin/pip install -r requirements-ray.txt"):
        RayEngine([Slot(("cpu",))], 1, Notes())


@pytest.mark.parametrize(
    ("slots", "reserved"), [("0,1", {"GPU": 1, "CPU": 0}), ("0+1", {"GPU": 2, "CPU": 0}), ("cpu+cpu", {"CPU": 2})]
)
def test_resources_of_slot_are_its_devices(slots, reserved):
    assert resources_of(parse_slots(slots)[0]) == reserved


def test_trial_environment_leaves_gpus_to_ray(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    slots = parse_slots("0,1")
    environment = trial_environment(slots[0], slots)
    assert environment["OMP_NUM_THREADS"] is None  # Ray's own 1 is taken away
    assert "CUDA_VISIBLE_DEVICES" not in environment


def test_check_nodes_counts_living_nodes_one_by_one():
    nodes = [
        {"Alive": True, "Resources": {"GPU": 1.0, "CPU": 8.0}},
        {"Alive": True, "Resources": {"GPU": 1.0}},
        {"Alive": False, "Resources": {"GPU": 4.0}},
    ]
    check_nodes(nodes, Slot(("0",)))
    with pytest.raises(ValueError, match=r"a trial on 0\+1 needs 2 GPUs of one node; the largest .* has 1"):
        check_nodes(nodes, Slot(("0", "1")))
