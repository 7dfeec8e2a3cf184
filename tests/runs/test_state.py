from __future__ import annotations

import os
import subprocess
import sys
import time
from subprocess import PIPE

import pytest
from filelock import FileLock

from runs.folder import Run
from runs.lock import is_locked
from runs.state import STATES, Best, Score, describe_state, find_runs, is_run, size_of
from utils.io import write_json

HOLD = """
import filelock
lock = filelock.FileLock({!r})
lock.acquire()
print("held", flush=True)
input()
"""
BEGUN = {"trained": False, "evaluated": False, "step": 8}
RECORD = (
    *("config.json", "environment.json", "command.txt", "metrics.jsonl"),
    *("samples.jsonl", "eval/val.json", "ending.json"),
)
DAMAGE = {
    "empty": b"",
    "half": None,
    "zeros": b"\0" * 90,
    "list": b"[1, 2]",
    "text": b'"text"',
    "number": b"3",
    "null": b"null",
    "not UTF-8": b"\xff\xfe\x00",
    "deep": b"[" * 5000,
}


def test_finished_run_tells_what_it_reached(make_run):
    state = describe_state(make_run())
    assert (state.state, state.step, state.max_steps, state.epoch) == ("finished", 12, 12, 3.0)
    assert state.best == Best("val/loss", 1.0, 8)
    assert state.scores == {"val": Score(0.4, (0.3, 0.5), 3)}
    assert state.styles == ["pirate", "robot"]
    assert state.started == "2026-01-02T03:04:05+00:00"
    assert time.time() - state.last_sign < 60
    assert (state.faults, state.holder) == ([], None)


@pytest.mark.parametrize(
    ("options", "ending", "state", "reason"),
    [
        ({"trained": False, "evaluated": False, "step": 0}, None, "new", ""),
        (BEGUN, None, "stopped", ""),
        (BEGUN, {"how": "paused", "reason": ""}, "paused", ""),
        (
            {"trained": False, "evaluated": False, "step": 8},
            {"how": "stopped", "reason": "SIGTERM"},
            "stopped",
            "SIGTERM",
        ),
        (
            {"trained": False, "evaluated": False, "step": 8},
            {"how": "failed", "reason": "loss nan"},
            "failed",
            "loss nan",
        ),
        ({"evaluated": False}, {"how": "trained", "reason": ""}, "trained", ""),
        ({}, {"how": "trained", "reason": ""}, "finished", ""),
    ],
)
def test_state_follows_from_what_is_there_and_how_training_ended(make_run, options, ending, state, reason):
    run = make_run(**options)
    if ending is not None:
        write_json(run.ending, ending)
    found = describe_state(run)
    assert (found.state, found.reason, found.faults) == (state, reason, [])
    assert found.state in STATES


def test_run_that_died_before_its_first_checkpoint_failed(make_run):
    run = make_run(step=0, trained=False, evaluated=False)
    run.log.write_text("a line\n")
    assert describe_state(run).state == "failed"


def test_run_whose_lock_another_process_holds_is_running_and_asking_does_not_take_it(make_run):
    run = make_run(step=8, trained=False, evaluated=False)
    lock = run.root / ".lock"
    write_json(run.root / ".lock.json", {"pid": 5, "host": "there", "started": "now"})
    program = HOLD.format(str(lock))
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=PIPE, stdout=PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        state = describe_state(run)
        assert (state.state, state.holder["host"]) == ("running", "there")
    finally:
        holder.kill()
        holder.wait()
    assert not is_locked(run)
    assert describe_state(run).state == "stopped"
    with FileLock(lock, timeout=0):
        assert is_locked(run)


def test_running_run_may_be_in_the_middle_of_a_line(make_run):
    run = make_run(step=8, trained=False, evaluated=False)
    with run.metrics.open("ab") as file:
        file.write(b'{"global_step": 9, "tr')
    assert describe_state(run).state == "damaged"
    with FileLock(run.root / ".lock", timeout=0):
        state = describe_state(run)
    assert (state.state, state.faults) == ("running", [])


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("name", RECORD)
def test_damaged_file_is_told_by_name_and_hides_nothing_else(make_run, name, kind):
    run = make_run()
    write_json(run.ending, {"how": "trained", "reason": ""})
    file = run.root / name
    content = DAMAGE[kind] if DAMAGE[kind] is not None else file.read_bytes()[: file.stat().st_size // 2]
    file.write_bytes(content)
    state = describe_state(run)
    if (name, kind) == ("samples.jsonl", "empty"):  # no validation yet
        assert state.faults == []
        return
    assert state.state == "damaged"
    assert [fault for fault in state.faults if str(file) in fault] == state.faults
    assert state.faults
    if name != "metrics.jsonl":
        assert (state.step, state.max_steps) == (12, 12)
    if name != "eval/val.json":
        assert state.scores["val"].cider == 0.4


@pytest.mark.parametrize("name", ["config.json", "environment.json", "command.txt", "metrics.jsonl"])
@pytest.mark.parametrize("folder", [False, True])
def test_missing_file_of_a_trained_run_is_told(make_run, name, folder):
    run = make_run()
    (run.root / name).unlink()
    if folder:
        (run.root / name).mkdir()
    state = describe_state(run)
    assert state.state == "damaged"
    assert [name in fault for fault in state.faults] == [True]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", {"model": 3, "data": {}, "train": {}}),
        ("config.json", {"d_model": 8}),
        ("environment.json", {"data": [1]}),
        ("environment.json", {"git": "abc"}),
        ("eval/val.json", {"overall": {"CIDEr": "high"}, "per_style": {}, "provenance": {}, "n": 3}),
        ("eval/val.json", {"overall": {}, "per_style": [], "provenance": {}, "n": 3}),
        ("eval/val.json", {"overall": {}, "per_style": {}, "provenance": {}, "n": True}),
        (
            "eval/val.json",
            {"overall": {}, "per_style": {}, "provenance": {}, "n": 3, "confidence": {"overall": {"CIDEr": 4}}},
        ),
    ],
)
def test_wrong_type_in_a_file_is_told(make_run, name, content):
    run = make_run()
    write_json(run.root / name, content)
    state = describe_state(run)
    assert state.state == "damaged"
    assert str(run.root / name) in state.faults[0]
    assert "is damaged" in state.faults[0]


@pytest.mark.parametrize(
    "config", [{"checkpoint": 3}, {"checkpoint": {"select": []}}, {"train": {"epochs": "x"}}, {"data": {"styles": 5}}]
)
def test_odd_values_in_the_configuration_stop_nothing(make_run, config):
    run = make_run(evaluated=False, trained=False, step=8, **config)
    assert describe_state(run).state == "stopped"


def test_best_follows_what_checkpoints_are_chosen_by_and_falls_back_on_a_checkpoint(make_run):
    run = make_run(checkpoint={"select": "CIDEr"})
    assert describe_state(run).best == Best("val/CIDEr", 1.5, 4)
    run.metrics.write_text('{"global_step": 4, "val/CIDEr": 0.2}\n{"global_step": 8, "val/CIDEr": 0.1}\n')
    assert describe_state(run).best == Best("val/CIDEr", 0.2, 4)


def test_find_runs_looks_through_folders_but_not_into_runs_models_and_hidden_folders(make_run, tmp_path):
    make_run("sweep/trials/t1")
    make_run("alone")
    make_run(".hidden/run")
    make_run("alone/eval/below")
    write_json(tmp_path / "model/config.json", {})
    (tmp_path / "damaged/checkpoints").mkdir(parents=True)
    (tmp_path / "damaged/config.json").write_bytes(b"\0")
    found = [str(run.root.relative_to(tmp_path)) for run in find_runs(tmp_path)]
    assert found == ["alone", "damaged", "sweep/trials/t1"]
    assert find_runs(tmp_path / "alone") == [Run(tmp_path / "alone")]
    assert not is_run(tmp_path / "model")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find_runs(tmp_path / "nowhere")


def test_size_counts_files_and_not_what_links_lead_to(tmp_path):
    (tmp_path / "run/below").mkdir(parents=True)
    (tmp_path / "run/below/file").write_bytes(b"x" * 70)
    (tmp_path / "large").write_bytes(b"x" * 5000)
    os.symlink(tmp_path / "large", tmp_path / "run/link")
    assert 70 < size_of(tmp_path / "run") < 5000
