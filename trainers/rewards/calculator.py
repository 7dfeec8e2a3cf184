"""Rewards in threads: captions are decoded, tokenised and scored while the model runs.

    with RewardCalculator(terms, weights, workers=2) as rewards:
        rewards.submit(lambda: RewardRequest(rows, decode(token_ids), ended))
        logits = model(...)
        total = rewards.result().total

A request is one job. Its terms mostly hold Python's lock, so that they are no faster as jobs of their own.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from queue import SimpleQueue
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np

from metrics.scores.document_frequency import EOS
from metrics.tokenizers.ptb import tokenize
from trainers.rewards.terms import FloatArray, RewardRequest, Rewards, Term


class RewardCalculator:
    """Computes the weighted sum of reward terms, in threads that share the prepared references.

    One thread submits and collects. Results come in the order of submission, whatever the threads' speed. Threads end
    with ``close``, with the ``with`` block, when nobody holds the calculator any more, and at the end of the program.
    """

    def __init__(
        self, terms: Mapping[str, Term], weights: Mapping[str, float], *, workers: int = 2, max_pending: int = 4
    ) -> None:
        """Start the threads.

        Args:
            terms: By name.
            weights: By the same names; a term of weight 0 is only reported.
            workers: Threads. 0 does the work in ``result``, without a thread.
            max_pending: Requests that may be submitted and not collected.

        Raises:
            ValueError: If the names differ.
        """
        if terms.keys() != weights.keys():
            raise ValueError(f"reward terms {sorted(terms)}, but weights for {sorted(weights)}; give each term one.")
        self._terms, self._weights = dict(terms), dict(weights)
        self._max_pending = max_pending
        self._pending: deque[_Job] = deque()
        jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # Daemons, since Python would run all that waits before it ends without them. At exit the finalizer is called
        # instead, which drops what waits and joins.
        self._threads = [
            threading.Thread(target=_work, args=(jobs,), name=f"reward-{number}", daemon=True)
            for number in range(workers)
        ]
        self._jobs = jobs
        self._finalizer = weakref.finalize(self, _stop, self._pending, jobs, self._threads)
        for thread in self._threads:
            thread.start()

    @property
    def workers(self) -> int:
        """Number of threads."""
        return len(self._threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, make_request: Callable[[], RewardRequest]) -> None:
        """Have captions rewarded; returns at once.

        Args:
            make_request: Called in a thread, so that decoding is overlapped too.

        Raises:
            RuntimeError: If ``max_pending`` requests wait to be collected (the thread that submits is the one that
                collects: waiting here would never end), or the calculator is closed.
        """
        self._check_open()
        if len(self._pending) >= self._max_pending:
            raise RuntimeError(f"{len(self._pending)} reward requests wait; collect one with result() before the next.")
        job = _Job(make_request, self._terms, self._weights, Future())
        self._pending.append(job)
        if self._threads:
            self._jobs.put(job)

    def result(self) -> Rewards:
        """Wait for the oldest request.

        Returns:
            Its rewards.

        Raises:
            Exception: What its ``make_request`` or a term raised, as it was, with a note that names the term.
            RuntimeError: If there is no request, or the calculator is closed.
        """
        self._check_open()
        if not self._pending:
            raise RuntimeError("no reward request to collect; submit one first.")
        job = self._pending[0]
        if not self._threads:
            job.run()
        wait([job.rewards])  # If Ctrl-C ends the waiting, the request is still among those to drop.
        self._pending.popleft()
        return job.rewards.result()

    def discard(self) -> None:
        """Drop the requests that were not collected; those that a thread is at end unheard."""
        while self._pending:
            self._pending.pop().rewards.cancel()

    def close(self) -> None:
        """Drop the requests that wait, and end the threads once they have done what they are at. May be repeated."""
        self._finalizer()

    def _check_open(self) -> None:
        if not self._finalizer.alive:
            raise RuntimeError("the reward calculator is closed; make a new one.")


class _Job(NamedTuple):
    """A request on its way."""

    make_request: Callable[[], RewardRequest]
    terms: Mapping[str, Term]
    weights: Mapping[str, float]
    rewards: Future[Rewards]

    def run(self) -> None:
        """Set the rewards, or what was raised."""
        if not self.rewards.set_running_or_notify_cancel():
            return
        try:
            self.rewards.set_result(_compute(self.make_request(), self.terms, self.weights))
        except BaseException as error:  # A thread that ends otherwise would leave the main one waiting for ever.
            self.rewards.set_exception(error)


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        job.run()
        del job  # What it was made of, such as tensors, would live on while the thread waits for the next.


def _stop(pending: deque[_Job], jobs: SimpleQueue[_Job | None], threads: Sequence[threading.Thread]) -> None:
    while pending:
        pending.pop().rewards.cancel()
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        if thread is not threading.current_thread():  # Any thread may be the one that collects garbage.
            thread.join()


def _compute(request: RewardRequest, terms: Mapping[str, Term], weights: Mapping[str, float]) -> Rewards:
    sizes = len(request.rows), len(request.hypotheses), len(request.ended)
    if len(set(sizes)) > 1:
        raise ValueError("a reward request has {} rows, {} hypotheses and {} ends; it needs as many.".format(*sizes))
    # One by one: in a list of captions the end of one may depend on the next, and a reward must not depend on which
    # captions a process has beside it.
    hypotheses = [_without_eos(tokenize(text)) for text in request.hypotheses]
    values = {name: _call(name, term, hypotheses, request) for name, term in terms.items()}
    total = np.zeros(len(hypotheses))
    for name, weight in weights.items():
        total += weight * values[name]
    return Rewards(total, values, request)


def _without_eos(caption: str) -> str:
    """The caption without the word that stands for its end: a model that spells it out must not be paid for ending."""
    return caption if EOS not in caption else " ".join(word for word in caption.split() if word != EOS)


def _call(name: str, term: Term, hypotheses: Sequence[str], request: RewardRequest) -> FloatArray:
    try:
        values = term(hypotheses, request.rows, request.ended)
        if values.shape != (len(hypotheses),):
            raise ValueError(f"rewards of shape {values.shape} for {len(hypotheses)} hypotheses")
    except Exception as error:
        error.add_note(f"in the reward term {name!r}")
        raise
    return values
