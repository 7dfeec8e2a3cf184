"""Signals at random moments: the program ends in time, leaves nobody behind, and goes on to the same bytes."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from tqdm import tqdm

from pipeline.processes import LOOK_EVERY
from runs.folder import Run
from runs.lock import is_locked
from tests.faults import stops, tiny
from tests.faults.children import ranks_of
from tests.faults.stops import PROGRAM
from tests.faults.tally import IS_LONG
from tests.faults.warm import end_session, orphans


def seconds_of(warm, scenes, folder, ranks: int, workers: int) -> float:
    conf = tiny.write_conf(tiny.document(scenes, workers), folder, "timed")
    began = time.monotonic()
    assert warm.call(PROGRAM, folder / "log", arguments=["--conf", str(conf)], ranks=ranks) == 0
    return time.monotonic() - began


@pytest.mark.parametrize(("ranks", "workers", "count"), [(1, 0, 1), (1, 2, 1), (2, 0, 1)])
def test_signals_at_random_moments_end_in_time_and_the_run_goes_on(
    warm, scenes, whole, tmp_path, tally, ranks, workers, count
):
    choice, expected = random.Random(100 * ranks + workers), whole(ranks, workers)
    seconds = seconds_of(warm, scenes, tmp_path, ranks, workers)
    for number in tqdm(range(40 if IS_LONG else count), desc=f"stopped, {ranks} ranks", disable=not IS_LONG):
        conf = tiny.write_conf(tiny.document(scenes, workers), tmp_path, f"stopped-{number}")
        stop = stops.draw(ranks, choice, seconds)
        outcome = stops.try_stop(warm, conf, tmp_path / f"{number}.log", stop, expected)
        tally(f"signal, {ranks} ranks, {workers} data workers", outcome.phase, outcome.wrong)


def test_killed_launcher_leaves_ranks_that_end_and_lock_until_then(warm, scenes, whole, tmp_path, tally):
    for number in range(6 if IS_LONG else 1):
        conf, log = tiny.write_conf(tiny.document(scenes), tmp_path, f"run-{number}"), tmp_path / "log"
        leader = warm.start(PROGRAM, log, arguments=["--conf", str(conf)], ranks=2)
        run = Run(conf.with_suffix(""))
        _wait_for(lambda: run.metrics.exists())  # noqa: B023 - called at once
        os.kill(leader, signal.SIGKILL)
        warm.wait(leader, 5)
        if is_locked(run):
            code = warm.call(PROGRAM, tmp_path / "second", arguments=["--conf", str(conf)], ranks=2)
            said = (tmp_path / "second").read_text()
            # They may all have ended before the second one has read its data.
            right = code == 0 or (code == 69 and "works in this folder" in said)
            tally("second start", "while orphans end", "" if right else f"{code}: {said[-1500:]}")
        left = orphans(leader, LOOK_EVERY + stops.LIMIT)
        end_session(leader)
        why = f"left {left}" if left else stops.go_on(warm, conf, log, 2, whole(2))
        tally("SIGKILL of the launcher", "training", why)


def test_dead_rank_ends_the_other(warm, scenes, whole, tmp_path, tally):
    for number in range(6 if IS_LONG else 1):
        conf, log = tiny.write_conf(tiny.document(scenes), tmp_path, f"run-{number}"), tmp_path / "log"
        leader = warm.start(PROGRAM, log, arguments=["--conf", str(conf)], ranks=2)
        run = Run(conf.with_suffix(""))
        _wait_for(lambda: run.metrics.exists())  # noqa: B023
        os.kill(ranks_of(leader)[number % 2], signal.SIGKILL)
        code = warm.wait(leader, stops.LIMIT)
        left = orphans(leader)
        end_session(leader)
        why = f"{code}, left {left}" if code is None or left else stops.go_on(warm, conf, log, 2, whole(2))
        tally("SIGKILL of a rank", "training", why)


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_program_frees_its_folder_at_once(warm, scenes, whole, tmp_path, tally, workers):
    """Data workers live on for some seconds; the lock must not live on in them."""
    for number in range(6 if IS_LONG else 1):
        conf, log = tiny.write_conf(tiny.document(scenes, workers), tmp_path, f"run-{number}"), tmp_path / "log"
        leader = warm.start(PROGRAM, log, arguments=["--conf", str(conf)])
        run = Run(conf.with_suffix(""))
        _wait_for(lambda: run.metrics.exists())  # noqa: B023
        os.kill(leader, signal.SIGKILL)
        warm.wait(leader, 5)
        why = stops.go_on(warm, conf, log, 1, whole(1, workers))
        left = orphans(leader)
        tally("SIGKILL", f"training, {workers} data workers", why or (f"left {left}" if left else ""))


def test_second_signal_leaves_at_once(warm, scenes, whole, tmp_path, tally):
    conf, log = tiny.write_conf(tiny.document(scenes), tmp_path, "run"), tmp_path / "log"
    arguments = {"patch": "tests.faults.patches:slow_step", "patched": {"seconds": 30.0}}
    leader = warm.start(PROGRAM, log, arguments=["--conf", str(conf)], **arguments)
    _wait_for(lambda: log.exists() and "a slow step" in log.read_text())
    os.kill(leader, signal.SIGTERM)
    time.sleep(2.2)
    os.kill(leader, signal.SIGTERM)
    code = warm.wait(leader, 3)
    left = orphans(leader)
    end_session(leader)
    why = "" if code == 128 + signal.SIGTERM and not left else f"{code}, left {left}: {log.read_text()[-1500:]}"
    tally("second signal", "training", why or stops.go_on(warm, conf, log, 1, whole()))


def test_two_starts_at_once_one_is_refused(warm, scenes, whole, tmp_path, tally):
    for number in range(8 if IS_LONG else 1):
        conf = tiny.write_conf(tiny.document(scenes), tmp_path, f"run-{number}")
        leaders = [warm.start(PROGRAM, tmp_path / f"log-{at}", arguments=["--conf", str(conf)]) for at in (0, 1)]
        codes = sorted(str(warm.wait(leader, 60)) for leader in leaders)
        said = [(tmp_path / f"log-{at}").read_text() for at in (0, 1)]
        right = codes == ["0", "69"] and any("works in this folder" in text for text in said)
        same = stops.go_on(warm, conf, tmp_path / "log", 1, whole()) if right else ""
        tally("two starts", "at once", same if right else f"{codes}: {said}")


def _wait_for(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.02)
