"""The engine of this machine: slots, crashes, retries, and that it leaves nothing behind."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil
import pytest

from sweeps.engines import local
from sweeps.engines.local import LocalEngine
from sweeps.trials.jobs import Job, Outcome
from sweeps.trials.slots import Slot, parse_slots

# Writes when it began and ended and where it ran, then ends with the code of its turn.
PROGRAM = """
import os, sys, time
folder, name, *codes = sys.argv[1:]
begin = time.monotonic()
time.sleep(0.2)
with open(f"{folder}/{name}.txt", "a") as file:
    devices, threads = os.environ["CUDA_VISIBLE_DEVICES"], os.environ.get("OMP_NUM_THREADS", "")
    file.write(f"{devices};{threads};{begin};{time.monotonic()}\\n")
turn = len(open(f"{folder}/{name}.txt").readlines())
code = int(codes[min(turn, len(codes)) - 1])
told = os.environ.get("TOLD", "broken in turn")
print(told, turn, flush=True) if code else None
if code == 9:
    os.kill(os.getpid(), 9)
sys.exit(code)
"""


class Notes:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def started(self, job: Job, slot: Slot, starts: int) -> None:
        self.events.append(("started", job.name, str(slot), starts))

    def ended(self, job: Job, outcome: Outcome, *, again: bool) -> None:
        self.events.append(("ended", job.name, outcome.code, again))

    def tick(self) -> None:
        pass


@pytest.fixture(autouse=True)
def program(monkeypatch):
    monkeypatch.setattr(
        local, "finetune_command", lambda job, processes: [sys.executable, "-c", PROGRAM, *job.arguments]
    )
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def _job(folder: Path, name: str, *codes: int) -> Job:
    return Job(name, (str(folder), name, *map(str, codes)), folder / "logs" / f"{name}.log")


def _said(job: Job) -> str:
    """The last thing that a job said."""
    lines = job.log.read_text().splitlines() if job.log.exists() else []
    return "" if not lines or lines[-1].startswith("=== ") else lines[-1]


def _runs(folder: Path) -> list[list[str]]:
    """Devices, threads, begin and end of every start."""
    return [line.split(";") for path in folder.glob("*.txt") for line in path.read_text().splitlines()]


def test_local_engine_runs_one_job_at_a_time_on_each_slot(tmp_path):
    engine = LocalEngine(parse_slots("0+1,2+3"), 0, Notes())
    outcomes = engine.run([_job(tmp_path, f"job{i}", 0) for i in range(5)])
    assert outcomes == {f"job{i}": Outcome(0, 1, "") for i in range(5)}
    runs = _runs(tmp_path)
    assert {devices for devices, *_ in runs} == {"0,1", "2,3"}
    for devices in ("0,1", "2,3"):
        times = sorted((float(begin), float(end)) for where, _, begin, end in runs if where == devices)
        assert len(times) >= 2
        assert all(earlier[1] < later[0] for earlier, later in zip(times, times[1:], strict=False))
    spans = [(float(begin), float(end)) for _, _, begin, end in runs]
    assert any(a < d and c < b for i, (a, b) in enumerate(spans) for c, d in spans[i + 1 :]), "nothing ran side by side"


def test_local_engine_hides_the_gpus_from_cpu_slots_and_shares_the_cores(tmp_path):
    LocalEngine(parse_slots("cpu,cpu"), 0, Notes()).run([_job(tmp_path, "a", 0)])
    ((devices, threads, _, _),) = _runs(tmp_path)
    assert devices == ""
    assert threads == str(max(1, len(os.sched_getaffinity(0)) // 2))


def test_local_engine_starts_a_crashed_job_again_and_no_other(tmp_path):
    notes = Notes()
    engine = LocalEngine(parse_slots("cpu"), 2, notes)
    jobs = [
        _job(tmp_path, "heals", 1, 9, 0),
        _job(tmp_path, "crashes", 7),
        _job(tmp_path, "refused", 2),
        _job(tmp_path, "fine", 0),
    ]
    assert engine.run(jobs) == {
        "heals": Outcome(0, 3, ""),
        "crashes": Outcome(7, 3, "exit code 7: broken in turn 3"),
        "refused": Outcome(2, 1, "exit code 2: broken in turn 1"),
        "fine": Outcome(0, 1, ""),
    }
    of_heals = [event[2:] for event in notes.events if event[1] == "heals"]
    assert of_heals == [("cpu", 1), (1, True), ("cpu", 2), (137, True), ("cpu", 3), (0, False)]
    assert [event for event in notes.events if event[0] == "ended" and event[1] == "refused"] == [
        ("ended", "refused", 2, False)
    ]


def test_local_engine_knows_a_refusal_that_torchrun_turns_into_exit_code_1(tmp_path, monkeypatch):
    monkeypatch.setenv("TOLD", "error: no such picture in turn")
    outcomes = LocalEngine(parse_slots("cpu"), 5, Notes()).run([_job(tmp_path, "refused", 1)])
    assert outcomes == {"refused": Outcome(2, 1, "exit code 2: error: no such picture in turn 1")}


def test_local_engine_tells_by_which_signal_a_job_was_ended(tmp_path):
    outcomes = LocalEngine(parse_slots("cpu"), 0, Notes()).run([_job(tmp_path, "killed", 9)])
    assert outcomes == {"killed": Outcome(137, 1, "ended by signal 9: broken in turn 1")}


def test_local_engine_that_is_interrupted_leaves_no_process(tmp_path, monkeypatch):
    sleeper = "import os, time; print(os.getpid(), flush=True); time.sleep(300)"
    monkeypatch.setattr(local, "finetune_command", lambda job, processes: [sys.executable, "-c", sleeper])
    jobs = [_job(tmp_path, name) for name in ("a", "b", "c")]
    notes = Notes()

    def interrupt() -> None:
        if all(_said(job) for job in jobs[:2]):
            raise KeyboardInterrupt

    notes.tick = interrupt
    with pytest.raises(KeyboardInterrupt):
        LocalEngine(parse_slots("0,1"), 3, notes).run(jobs)
    pids = [int(_said(job)) for job in jobs[:2]]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not jobs[2].log.exists()
    assert [event[0] for event in notes.events] == ["started", "started"]


def test_local_engine_frees_the_slot_of_a_crash_for_the_next_job(tmp_path):
    """A trial's crash never stops the others, also where there is one slot only and nothing is left to retry."""
    began = time.monotonic()
    jobs = [_job(tmp_path, "crash", 1), _job(tmp_path, "next", 0)]
    outcomes = LocalEngine(parse_slots("5"), 0, Notes()).run(jobs)
    assert [outcome.code for outcome in outcomes.values()] == [1, 0]
    assert time.monotonic() - began < 60
