"""Rows of several requests at once, and what becomes of those that are given up or cannot be done."""

from __future__ import annotations

import threading

import pytest

from serving.batching import Batcher, Places
from serving.errors import Refusal

LONG = 60.0
"""Seconds that nobody waits here: what is done before has not waited for them."""


class Work:
    """Doubles numbers, once it is let; keeps what it was given."""

    def __init__(self):
        self.batches = []
        self.has_begun, self.may_go = threading.Event(), threading.Event()
        self.may_go.set()

    def __call__(self, key, items):
        self.has_begun.set()
        assert self.may_go.wait(20)
        self.batches.append((key, [*items]))
        if "poison" in items:
            raise ValueError("poison")
        return [2 * item for item in items]


@pytest.fixture
def work():
    return Work()


@pytest.fixture
def make(work):
    made = []

    def build(max_batch=4, max_wait=0.0):
        sizes = []
        batcher = Batcher("test", work, max_batch=max_batch, max_wait=max_wait, on_batch=lambda n, _: sizes.append(n))
        made.append(batcher)
        batcher.sizes = sizes
        return batcher

    yield build
    work.may_go.set()
    for batcher in made:
        batcher.close()


@pytest.fixture
def busy(make, work):
    """A batcher that works on a row of its own until ``work.may_go`` is set."""
    batcher = make()
    work.may_go.clear()
    first = batcher.submit("first", [0])
    assert work.has_begun.wait(20)
    batcher.first = first
    return batcher


def test_batcher_rows_of_equal_keys_go_together_oldest_key_first(busy, work):
    jobs = [busy.submit(key, [item]) for key, item in (("a", 1), ("b", 10), ("a", 2), ("b", 20))]
    work.may_go.set()
    assert [job.result(20) for job in jobs] == [[2], [20], [4], [40]]
    assert work.batches == [("first", [0]), ("a", [1, 2]), ("b", [10, 20])]
    assert busy.sizes == [1, 2, 2]


def test_batcher_full_batch_does_not_wait(make, work):
    batcher = make(max_batch=3, max_wait=LONG)
    jobs = [batcher.submit("a", [item]) for item in (1, 2, 3)]
    assert [job.result(20) for job in jobs] == [[2], [4], [6]]
    assert work.batches == [("a", [1, 2, 3])]


def test_batcher_batch_that_is_not_full_waits_for_others(make, work):
    batcher = make(max_batch=3, max_wait=LONG)
    batcher.submit("a", [1, 2])
    assert not work.has_begun.wait(0.05)
    assert len(batcher) == 2


def test_batcher_job_larger_than_a_batch_comes_back_in_order(make, work):
    assert make(max_batch=4).submit("a", [*range(10)]).result(20) == [*range(0, 20, 2)]
    assert [len(items) for _, items in work.batches] == [4, 4, 2]


def test_batcher_job_that_is_given_up_is_not_worked_on(busy, work):
    given_up, kept = busy.submit("a", [1]), busy.submit("a", [2])
    assert given_up.cancel()
    work.may_go.set()
    assert kept.result(20) == [4]
    assert work.batches[1:] == [("a", [2])]


def test_batcher_holds_nothing_of_what_is_given_up_while_others_are_worked_on(busy):
    given_up, kept = busy.submit("a", [1, 2]), busy.submit("a", [3])
    assert given_up.cancel()
    assert len(busy) == 1
    assert kept.cancel()
    assert len(busy) == 0


def test_batcher_job_given_up_while_it_is_worked_on_harms_nobody(busy, work):
    assert busy.first.cancel()
    work.may_go.set()
    assert busy.submit("a", [1]).result(20) == [2]


def test_batcher_one_job_that_fails_does_no_harm_to_others(busy, work):
    good, bad, better = busy.submit("a", [1]), busy.submit("a", ["poison"]), busy.submit("a", [3])
    work.may_go.set()
    assert good.result(20) == [2]
    assert better.result(20) == [6]
    with pytest.raises(ValueError, match="poison"):
        bad.result(20)
    assert [items for _, items in work.batches[1:]] == [[1, "poison", 3], [1], ["poison"], [3]]


def test_batcher_results_of_a_wrong_number_are_a_failure(make):
    batcher = make()
    batcher.run = lambda key, items: []
    with pytest.raises(ValueError, match="shorter"):
        batcher.submit("a", [1]).result(20)


def test_batcher_close_finishes_what_waits_and_takes_no_more(make, work):
    batcher = make(max_wait=LONG)
    job = batcher.submit("a", [1])
    batcher.close()
    assert job.result(0) == [2]
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit("a", [1])


def test_places_taken_tell_when_to_come_again():
    places = Places(10, lambda: 0.75)
    with places.take(6):
        with places.take(4):
            pass
        with pytest.raises(Refusal) as refused, places.take(5):
            pass
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "5"}  # 6 places of 0.75 s, rounded up
    assert places.taken == 0


@pytest.mark.parametrize(("seconds", "told"), [(0.0, "1"), (1000.0, "60")])
def test_places_time_to_come_again_is_bounded(seconds, told):
    places = Places(1, lambda: seconds)
    with places.take(1), pytest.raises(Refusal) as refused, places.take(1):
        pass
    assert refused.value.headers["Retry-After"] == told


def test_places_request_for_more_than_there_are_gets_in_alone():
    places = Places(4, lambda: 0.1)
    with places.take(9):
        assert places.taken == 9
        with pytest.raises(Refusal), places.take(1):
            pass
