"""Disks that are full, read-only or broken while a checkpoint or the final model is saved."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from runs.checkpoints import choose_checkpoint, complete_steps
from runs.folder import Run
from tests.faults import saves, tiny
from tests.faults.stops import PROGRAM, go_on
from trainers import checkpoints
from trainers.checkpoints import describe_fault
from utils.errors import Fault, Stopped
from utils.io import append_jsonl, read_jsonl
from utils.signals import request_stop, stopping_as_on_ctrl_c, waiting

PATCHES = "tests.faults.patches"


@pytest.fixture
def small_disk(tmp_path):
    """A file system in memory of 1 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(checkpoints, "LOOK_AGAIN", 0.02)


def write_large(folder: Path) -> None:
    saves.write_files(folder, 6)
    (folder / "more").write_bytes(bytes(500_000))


def save_large(store: checkpoints.CheckpointStore, expected: int) -> None:
    about = {"max_steps": 12, "epoch": 1.0, "score": 0.1, "awaits_validation": False}
    store.save(6, write_large, about, expected)


@pytest.mark.parametrize("expected", [600_000, 1000])
def test_full_disk_is_waited_for_and_the_save_goes_on_when_there_is_room(small_disk, patient, tally, caplog, expected):
    """With a wrong expectation the writers themselves meet the full disk."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(800_000))
    freed = threading.Timer(0.5, filler.unlink)
    store, began = saves.make_store(small_disk / "run"), time.monotonic()
    freed.start()
    save_large(store, expected)
    assert time.monotonic() - began > 0.4
    chosen = choose_checkpoint(store.run, store.verifier)
    said = "Training waits until there is room" if expected > 1000 else "trying again"
    right = chosen is not None and chosen.step == 6 and said in caplog.text
    tally("disk full (tmpfs)", "save", "" if right else caplog.text)


@pytest.mark.parametrize("expected", [600_000, 1000])
def test_signal_during_the_wait_for_room_ends_with_75(small_disk, patient, tally, expected):
    filler, store = small_disk / "filler", saves.make_store(small_disk / "run")
    saves.save_step(store, 3, 0.5)
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 200_000))
    if expected == 1000:  # the room that is missing shows only while it is written
        store._missing_bytes = lambda expected: 0
    told = threading.Timer(0.3, request_stop)
    told.start()
    with stopping_as_on_ctrl_c(), waiting(), pytest.raises(Stopped, match="goes on from checkpoint-3"):
        save_large(store, expected)
    with stopping_as_on_ctrl_c():
        pass  # a new start is told nothing yet: tests behind this one are not to stop
    left = [path.name for path in store.run.checkpoints.glob(".*")]
    tally("SIGTERM while the disk is full", "save", f"left {left}" if left or complete_steps(store.run) != [3] else "")


@contextlib.contextmanager
def limited(size: int):
    """No file grows beyond so many bytes in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, former)


@pytest.mark.parametrize("size", [0, 100, 1000, 2300, 3000])
def test_file_that_may_not_grow_ends_with_one_message_and_the_one_before_stays(tmp_path, tally, size):
    """RLIMIT_FSIZE cuts each of the writers at another place: safetensors, torch, ours."""
    store = saves.make_store(tmp_path / "run")
    saves.save_step(store, 3, 0.5)
    with limited(size), pytest.raises(Fault, match="could not be saved .* goes on from checkpoint-3"):
        saves.save_step(store, 6, 0.4)
    left = [path.name for path in store.run.checkpoints.glob(".*")]
    tally("RLIMIT_FSIZE", "save", f"left {left}" if left or complete_steps(store.run) != [3] else "")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE])
@pytest.mark.parametrize("call", ["mkdir", "rename", "fsync"])
def test_disk_that_refuses_ends_with_one_message(tmp_path, monkeypatch, tally, number, call):
    store, usual = saves.make_store(tmp_path / "run"), getattr(os, call)
    saves.save_step(store, 3, 0.5)

    def refuse(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        with pytest.raises(Fault, match=f"could not be saved \\({os.strerror(number)}"):
            saves.save_step(store, 6, 0.4)
    assert getattr(os, call) is usual
    saves.save_step(store, 6, 0.4)
    tally(f"{errno.errorcode[number]}", f"save, {call}", "" if complete_steps(store.run) == [6, 3] else "not whole")


def test_disk_that_cannot_be_read_is_a_reason_to_pass_over(tmp_path, monkeypatch, tally, caplog):
    store = saves.make_store(tmp_path / "run")
    for step in (3, 6):
        saves.save_step(store, step, 0.5)
    usual = Path.open

    def broken(self, *args, **kwargs):
        if "checkpoint-6" in str(self):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", broken)
    chosen = choose_checkpoint(store.run, checkpoints.Verifier())
    right = chosen is not None and chosen.step == 3 and "Input/output error" in caplog.text
    tally("EIO", "reading a checkpoint", "" if right else f"{chosen}: {caplog.text}")


def test_errors_in_disguise_are_known_from_real_failures(small_disk, tally):
    tensor = torch.zeros(1_000_000)
    cases = {
        "safetensors": lambda: save_file({"weights": tensor}, small_disk / "weights"),
        "torch": lambda: torch.save(tensor, small_disk / "weights.pt"),
    }
    for name, write in cases.items():
        with pytest.raises((OSError, RuntimeError, SafetensorError)) as caught:
            write()
        fault = describe_fault(caught.value, small_disk)
        tally("disk full (tmpfs)", f"error of {name}", "" if fault and fault.is_no_room else repr(caught.value))
        for file in small_disk.iterdir():
            file.unlink()


def test_row_that_is_cut_short_by_a_full_disk_does_not_stay(tmp_path):
    file = tmp_path / "metrics.jsonl"
    append_jsonl(file, {"global_step": 1})
    with limited(file.stat().st_size + 5), pytest.raises(OSError, match="File too large"):
        append_jsonl(file, {"global_step": 2})
    append_jsonl(file, {"global_step": 2})
    assert [row["global_step"] for _, row in read_jsonl(file)] == [1, 2]


@pytest.mark.parametrize(
    ("patch", "said"),
    [("quota", "Disk quota exceeded; trying again"), ("final_folder_without_room", "torch could not write a file")],
)
def test_run_waits_for_room_and_goes_on_exactly(warm, scenes, whole, tmp_path, tally, patch, said):
    conf, log, flag = tiny.write_conf(tiny.document(scenes), tmp_path, "run"), tmp_path / "log", tmp_path / "room"
    patched = {"flag": str(flag)}
    leader = warm.start(PROGRAM, log, arguments=["--conf", str(conf)], patch=f"{PATCHES}:{patch}", patched=patched)
    deadline = time.monotonic() + 60
    while not (log.exists() and said in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    flag.touch()
    code = warm.wait(leader, 60)
    why = "" if code == 0 and "Traceback" not in log.read_text() else f"{code}: {log.read_text()[-1500:]}"
    tally("disk full", f"whole run, {patch.replace('_', ' ')}", why or go_on(warm, conf, log, 1, whole()))


@pytest.mark.parametrize(
    ("how", "workers", "told"),
    [
        ("kill", 2, "that loads data has died"),
        pytest.param("hang", 2, "no batch came for 2 s", marks=pytest.mark.slow),
    ],
)
def test_data_worker_that_dies_or_hangs_ends_the_run_which_goes_on_exactly(
    warm, scenes, whole, tmp_path, tally, how, workers, told
):
    conf, log = tiny.write_conf(tiny.document(scenes, workers), tmp_path, "run"), tmp_path / "log"
    patched = {"row": 3, "how": how, "flag": str(tmp_path / "flag")}
    code = warm.call(PROGRAM, log, arguments=["--conf", str(conf)], patch=f"{PATCHES}:kill_worker", patched=patched)
    said = log.read_text()
    why = "" if code == 1 and told in said and "Traceback" not in said else f"{code}: {said[-2500:]}"
    tally(f"data worker: {how}", "training", why or go_on(warm, conf, log, 1, whole(1, workers)))


def test_clock_that_jumps_by_days_changes_nothing(warm, scenes, whole, tmp_path, tally):
    conf, log = tiny.write_conf(tiny.document(scenes), tmp_path, "run"), tmp_path / "log"
    code = warm.call(PROGRAM, log, arguments=["--conf", str(conf)], patch=f"{PATCHES}:jumping_clock")
    why = "" if code == 0 else f"{code}: {log.read_text()[-1500:]}"
    differing = [part for part, value in whole().items() if tiny.digest(Run(tmp_path / "run"))[part] != value]
    tally("clock jumps by days", "whole run", why or f"{differing} differ" if differing or why else "")


def test_run_goes_on_in_another_place_and_through_a_link(warm, scenes, whole, tmp_path, tally):
    first = tiny.write_conf(tiny.document(scenes), tmp_path, "first")
    assert warm.call(PROGRAM, tmp_path / "log", arguments=["--conf", str(first), "--pause_after", "0.6"]) == 0
    (tmp_path / "first").rename(tmp_path / "moved away")
    (tmp_path / "linked").symlink_to(tmp_path / "moved away")
    conf = tiny.write_conf(tiny.document(scenes), tmp_path, "linked")
    tally("run folder moved, a link", "resume", go_on(warm, conf, tmp_path / "log", 1, whole()))
