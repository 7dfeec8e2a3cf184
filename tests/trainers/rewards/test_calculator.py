from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from trainers.rewards.calculator import RewardCalculator
from trainers.rewards.terms import RewardRequest

REPOSITORY = Path(__file__).resolve().parents[3]
DEADLINE = 20.0


def rows_as_rewards(hypotheses: Sequence[str], rows: Sequence[int], ended: Sequence[bool]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


def request(*rows: int) -> RewardRequest:
    return RewardRequest(list(rows), ["a dog"] * len(rows), [True] * len(rows))


def calculator(term: Callable = rows_as_rewards, **options) -> RewardCalculator:
    return RewardCalculator({"rows": term}, {"rows": 1.0}, **options)


def reward_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reward-")]


def becomes_true(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + DEADLINE
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


@pytest.fixture(autouse=True)
def _no_thread_left():
    assert not reward_threads()
    yield
    assert not reward_threads()


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_calculator_results_come_in_the_order_of_submission(workers):
    later_done = threading.Event()

    def term(hypotheses, rows, ended):
        if rows[0] == 0 and workers > 1:  # The first ends last.
            assert later_done.wait(DEADLINE)
        if rows[0] == 2:
            later_done.set()
        return rows_as_rewards(hypotheses, rows, ended)

    with calculator(term, workers=workers) as rewards:
        for row in range(3):
            rewards.submit(lambda row=row: request(row, row + 10))
        totals = [rewards.result().total.tolist() for _ in range(3)]

    assert totals == [[0, 10], [1, 11], [2, 12]]


def test_calculator_hypotheses_reach_terms_tokenised():
    seen = []

    def term(hypotheses, rows, ended):
        seen.append((hypotheses, rows, ended))
        return np.zeros(2)

    with calculator(term) as rewards:
        rewards.submit(lambda: RewardRequest([5, 3], ["A dog, running!", ""], [True, False]))
        assert rewards.result().total.tolist() == [0, 0]

    assert seen == [(["a dog running", ""], [5, 3], [True, False])]


def test_calculator_works_while_the_main_thread_does_something_else():
    started = threading.Event()

    def make_request():
        started.set()
        return request(7)

    with calculator() as rewards:
        rewards.submit(make_request)
        assert started.wait(DEADLINE)  # Nobody has asked for the result.
        assert rewards.result().total.tolist() == [7]


def test_calculator_without_workers_works_in_the_thread_that_collects():
    threads = []

    def make_request():
        threads.append(threading.current_thread())
        return request(7)

    with calculator(workers=0) as rewards:
        rewards.submit(make_request)
        assert (threads, reward_threads()) == ([], [])
        assert rewards.result().total.tolist() == [7]

    assert threads == [threading.main_thread()]


@pytest.mark.parametrize("workers", [0, 2])
def test_calculator_term_s_exception_comes_as_itself_with_the_term_s_name(workers):
    fault = LookupError("no reference of row 4")

    def term(hypotheses, rows, ended):
        if rows == [4]:
            raise fault
        return rows_as_rewards(hypotheses, rows, ended)

    with calculator(term, workers=workers) as rewards:
        for row in (3, 4, 5):
            rewards.submit(lambda row=row: request(row))
        assert rewards.result().total.tolist() == [3]
        with pytest.raises(LookupError, match="no reference of row 4") as caught:
            rewards.result()
        assert rewards.result().total.tolist() == [5]

    assert caught.value is fault
    assert fault.__notes__ == ["in the reward term 'rows'"]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_calculator_exception_in_making_the_request_is_raised_by_result(error):
    def make_request():
        raise error("cannot decode")

    with calculator(workers=1) as rewards:
        rewards.submit(make_request)
        with pytest.raises(error, match="cannot decode"):
            rewards.result()
        rewards.submit(lambda: request(1))  # The thread lives on.
        assert rewards.result().total.tolist() == [1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros(3), r"rewards of shape \(3,\) for 2 hypotheses"),
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
    ],
)
def test_calculator_rewards_that_are_none_are_refused(values, message):
    with calculator(lambda *_: values) as rewards:
        rewards.submit(lambda: request(0, 1))
        with pytest.raises(ValueError, match=message):
            rewards.result()


@pytest.mark.parametrize(
    "odd",
    [
        RewardRequest([0], ["a", "b"], [True, True]),
        RewardRequest([0, 1], ["a", "b"], [True]),
        RewardRequest([], ["a"], []),
    ],
)
def test_calculator_request_of_uneven_lists_is_refused(odd):
    with calculator() as rewards:
        rewards.submit(lambda: odd)
        with pytest.raises(ValueError, match=r"has \d rows, \d hypotheses and \d ends; it needs as many"):
            rewards.result()


def test_calculator_empty_request_gives_no_rewards():
    with calculator() as rewards:
        rewards.submit(request)
        assert rewards.result().total.shape == (0,)


def test_calculator_more_than_max_pending_is_refused_until_one_is_collected():
    with calculator(workers=1, max_pending=2) as rewards:
        rewards.submit(lambda: request(0))
        rewards.submit(lambda: request(1))
        with pytest.raises(RuntimeError, match=r"2 reward requests wait; collect one with result\(\)"):
            rewards.submit(lambda: request(2))
        rewards.result()
        rewards.submit(lambda: request(3))
        assert [rewards.result().total.tolist() for _ in range(2)] == [[1], [3]]


def test_calculator_nothing_to_collect_is_refused():
    with calculator() as rewards, pytest.raises(RuntimeError, match="no reward request to collect"):
        rewards.result()


def test_calculator_names_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"reward terms \['a'\], but weights for \['b'\]"):
        RewardCalculator({"a": rows_as_rewards}, {"b": 1.0})


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_calculator_close_drops_what_waits_and_may_be_repeated(workers):
    made, begun, go_on = [], threading.Event(), threading.Event()

    def make_first():
        begun.set()
        assert go_on.wait(DEADLINE)
        return request(0)

    rewards = calculator(workers=workers)
    for _ in range(max(workers, 1)):
        rewards.submit(make_first)
    rewards.submit(lambda: made.append(1) or request(1))
    assert workers == 0 or begun.wait(DEADLINE)
    threading.Timer(0.05, go_on.set).start()
    rewards.close()
    rewards.close()

    assert made == []
    assert not reward_threads()
    with pytest.raises(RuntimeError, match="is closed"):
        rewards.result()
    with pytest.raises(RuntimeError, match="is closed"):
        rewards.submit(lambda: request(0))


def test_calculator_that_nobody_holds_ends_its_threads():
    rewards = calculator(workers=2)
    assert len(reward_threads()) == 2

    del rewards
    gc.collect()

    assert not reward_threads()


def test_calculator_keeps_nothing_of_a_request_that_was_collected():
    class Tensors:
        pass

    tensors = Tensors()
    released = weakref.ref(tensors)

    with calculator(workers=1) as rewards:
        rewards.submit(lambda tensors=tensors: request(0))
        del tensors
        rewards.result()
        assert becomes_true(lambda: released() is None)


def test_calculator_many_requests_from_threads_equal_those_in_line():
    draw = np.random.default_rng(0)
    requests = [request(*draw.integers(0, 100, 5).tolist()) for _ in range(200)]

    def totals(workers: int) -> list[list[float]]:
        found = []
        with calculator(workers=workers) as rewards:
            for number, one in enumerate(requests):
                rewards.submit(lambda one=one: one)
                if number >= 3:
                    found.append(rewards.result().total.tolist())
            found += [rewards.result().total.tolist() for _ in range(3)]
        return found

    assert totals(4) == totals(0) == [[float(row) for row in one.rows] for one in requests]


PROGRAM = """
import os, signal, threading, time
import numpy as np
from trainers.rewards.calculator import RewardCalculator
from trainers.rewards.terms import RewardRequest

def slow(hypotheses, rows, ended):
    print("begun", flush=True)
    time.sleep({seconds})
    return np.zeros(len(rows))

rewards = RewardCalculator({{"slow": slow}}, {{"slow": 1.0}}, workers=1)
for _ in range(4):
    rewards.submit(lambda: RewardRequest([0], ["a dog"], [True]))
"""

INTERRUPT = """
threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
try:
    with rewards:
        rewards.result()
except KeyboardInterrupt:
    print("interrupted", [thread.name for thread in threading.enumerate() if thread.name.startswith("reward-")])
"""


def run(program: str) -> tuple[subprocess.CompletedProcess[str], float]:
    start = time.monotonic()
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    return done, time.monotonic() - start


def test_calculator_ctrl_c_while_waiting_leaves_no_thread():
    done, _ = run(PROGRAM.format(seconds=1) + INTERRUPT)

    # What had begun was ended, the three that waited were not.
    assert (done.stdout, done.stderr, done.returncode) == ("begun\ninterrupted []\n", "", 0)


def test_calculator_program_s_end_does_not_wait_for_what_waits():
    done, seconds = run(PROGRAM.format(seconds=2) + "while not rewards._pending[0].rewards.running(): pass\n")

    assert (done.stdout, done.stderr, done.returncode) == ("begun\n", "", 0)
    assert seconds < 8  # All four would take as long, and the imports besides.


def test_calculator_exception_of_the_program_is_told_and_ends_it():
    done, _ = run(PROGRAM.format(seconds=0.1) + "raise ValueError('out of memory')\n")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: out of memory"


def test_calculator_end_of_caption_that_a_model_spells_out_is_no_end():
    seen = []

    def term(hypotheses, rows, ended):
        seen.extend(hypotheses)
        return np.zeros(len(hypotheses))

    with calculator(term) as rewards:
        rewards.submit(lambda: RewardRequest([0, 0], ["a dog <eos>", "<eos>"], [False, False]))
        rewards.result()

    assert seen == ["a dog", ""]
