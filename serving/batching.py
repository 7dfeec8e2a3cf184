"""Requests that wait for a model are worked on together: one thread a model, at most so many rows at once."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from typing import Any, NamedTuple

from serving.errors import busy

logger = logging.getLogger(__name__)

Run = Callable[[Any, Sequence[Any]], Sequence[Any]]
"""From what rows have in common, and the rows, to what each becomes, in order."""
LONGEST_RETRY = 60
"""Seconds that a client is told to wait, at most."""
RECENT = 0.2
"""Weight of the latest batch in the mean time of a row."""
CLOSE_SECONDS = 10.0


class Job:
    """Rows of one request.

    Args:
        key: What rows must have in common to be worked on together.
        count: Rows, 1 or more.

    Attributes:
        future: Gets the results, in order; whoever cancels it gives the job up.
        since: When it came, on the monotonic clock.
    """

    def __init__(self, key: Hashable, count: int) -> None:
        self.key = key
        self.future: Future[list[Any]] = Future()
        self.since = time.monotonic()
        self._made: list[Any] = [None] * count
        self._left = count

    def put(self, place: int, made: Any) -> None:
        """Take the result of a row; the last one ends the job."""
        self._made[place] = made
        self._left -= 1
        if not self._left:
            self._settle(lambda: self.future.set_result(self._made))

    def fail(self, error: Exception) -> None:
        """End the job, whatever of it was made already."""
        self._settle(lambda: self.future.set_exception(error))

    def _settle(self, end: Callable[[], None]) -> None:
        try:
            end()
        except InvalidStateError:
            logger.debug("a job was given up while it was worked on")


class Row(NamedTuple):
    """One row of a job."""

    job: Job
    place: int
    item: Any


class Batcher:
    """Works on rows of several jobs at once, in a thread of its own, oldest first.

    Rows are worked on together if their jobs have equal keys. A batch starts when it is full, or when its oldest row
    has waited ``max_wait``. Jobs that are given up are not worked on. If a batch of several jobs fails, each job is
    tried by itself, so that one that cannot be done does no harm to others.

    Args:
        name: Of the thread.
        run: Called in the thread, by nobody else.
        max_batch: Most rows at once.
        max_wait: Seconds.
        on_batch: Told rows and seconds of every batch.
    """

    def __init__(
        self, name: str, run: Run, *, max_batch: int, max_wait: float, on_batch: Callable[[int, float], None]
    ) -> None:
        self.run, self.max_batch, self.max_wait, self.on_batch = run, max_batch, max_wait, on_batch
        self.seconds_per_row = 0.1
        self._rows: deque[Row] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"model-{name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Rows that wait."""
        return len(self._rows)

    def submit(self, key: Hashable, items: Sequence[Any]) -> Future[list[Any]]:
        """Have rows worked on.

        Args:
            key: What they have in common.
            items: One for each row.

        Returns:
            A future with one result a row; it fails as the work does. Cancelling it drops the rows that wait.
        """
        job = Job(key, len(items))
        with self._changed:
            if self._closed:
                raise RuntimeError("the batcher is closed")
            self._rows.extend(Row(job, place, item) for place, item in enumerate(items))
            self._changed.notify()
        job.future.add_done_callback(lambda _: self._drop(job))
        return job.future

    def close(self) -> None:
        """End the thread once all that waits is done; not longer than ten seconds."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)

    def _drop(self, job: Job) -> None:
        """Let go of rows that nobody waits for: they hold pictures, and the batch before them may take long."""
        with self._changed:
            self._rows = deque(row for row in self._rows if row.job is not job)

    def _work(self) -> None:
        while batch := self._next_batch():
            self._run(batch)

    def _next_batch(self) -> list[Row]:
        """The rows to work on next; none if there will be no more."""
        with self._changed:
            while True:
                if not self._rows:
                    if self._closed:
                        return []
                    self._changed.wait()
                    continue
                oldest = self._rows[0].job
                batch = [row for row in self._rows if row.job.key == oldest.key][: self.max_batch]
                left = oldest.since + self.max_wait - time.monotonic()
                if len(batch) < self.max_batch and left > 0 and not self._closed:
                    self._changed.wait(left)
                    continue
                taken = {(row.job, row.place) for row in batch}
                self._rows = deque(row for row in self._rows if (row.job, row.place) not in taken)
                return batch

    def _run(self, batch: Sequence[Row]) -> None:
        start = time.monotonic()
        try:
            made = self.run(batch[0].job.key, [row.item for row in batch])
            results = [*zip(batch, made, strict=True)]
        except Exception as error:
            jobs = {row.job: None for row in batch}
            if len(jobs) == 1:
                batch[0].job.fail(error)
            else:
                for job in jobs:
                    self._run([row for row in batch if row.job is job])
            return
        seconds = time.monotonic() - start
        self.seconds_per_row += RECENT * (seconds / len(batch) - self.seconds_per_row)
        self.on_batch(len(batch), seconds)
        for row, one in results:
            row.job.put(row.place, one)


class Places:
    """How much may be under way at once; whoever finds no place is told when to come again.

    Args:
        limit: Places.
        seconds_each: For how long one is taken, as far as that is known.
    """

    def __init__(self, limit: int, seconds_each: Callable[[], float]) -> None:
        self.limit, self.seconds_each = limit, seconds_each
        self.taken = 0
        self._lock = threading.Lock()

    @contextmanager
    def take(self, count: int) -> Iterator[None]:
        """Hold places meanwhile. A request for more than there are gets in once all are free.

        Raises:
            Refusal: ``busy``, if they are taken.
        """
        with self._lock:
            if self.taken and self.taken + count > self.limit:
                seconds = math.ceil(self.taken * self.seconds_each())
                raise busy(max(1, min(seconds, LONGEST_RETRY)))
            self.taken += count
        try:
            yield
        finally:
            with self._lock:
                self.taken -= count
