"""Rows of annotation files that cannot be read: an error, or left out while reading goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from preprocessors.examples import DroppedRow

BAD_ROW = "unreadable row"

_READING: ContextVar[BadRows | None] = ContextVar("reading", default=None)

Record = TypeVar("Record")
Row = TypeVar("Row")


class WholeFile(ValueError):
    """Something is wrong with a file that is not the fault of one row, so that no row can be left out for it."""


class OtherForm(WholeFile):
    """A file is in another form than it is said to be."""


def each_record(records: Iterable[tuple[int, Record]], path: Path) -> Iterator[tuple[int, Record]]:
    """The records of a file one by one, but for those that are left out under ``data.on_bad_row=skip``.

    What a format raises between one record and the next is held to be about the first of the two. So every format that
    takes its records from here (``json_objects`` does) can leave bad rows out.

    Args:
        records: With their numbers in the file.
        path: The file.
    """
    reading = _READING.get()
    return iter(records) if reading is None else reading.follow(records, path)


def leave_out(path: Path, row: int, error: ValueError) -> None:
    """Note that a row cannot be read, where such rows are left out.

    Raises:
        ValueError: The error itself, where they are not.
    """
    reading = _READING.get()
    if reading is None:
        raise error
    reading.bad[path, row] = str(error)


@contextmanager
def leaving_out(path: Path, row: int) -> Iterator[None]:
    """What a format makes of one row that it has at hand, so that it goes on with the next itself if it cannot.

    A format that keeps something from row to row needs this: with :func:`each_record` alone it is opened again behind a
    bad row, and has forgotten it.

    Raises:
        ValueError: As :func:`leave_out`.
    """
    try:
        yield
    except WholeFile:
        raise
    except ValueError as error:
        leave_out(path, row, error)


class BadRows:
    """Reads on after rows that cannot be read.

    A generator that has raised is at its end, so the format is opened again. If it has made a row of each record so
    far, the new generator is given the rest of the same records; otherwise (it gathers records, or reads a second file)
    it starts from the beginning without the bad ones, and what it has given already is passed over. Either way nothing
    is lost but the bad rows.
    """

    def __init__(self) -> None:
        self.bad: dict[tuple[Path, int], str] = {}
        """What is wrong with a row, by file and row."""
        self._rest: Iterator[tuple[int, Any]] | None = None
        self._records: Iterator[tuple[int, Any]] = iter(())
        self._at: tuple[Path, int] | None = None
        self._num_streams = self._num_records = 0

    @property
    def dropped(self) -> list[DroppedRow]:
        """The rows that were left out, with what is wrong with them."""
        return [DroppedRow(str(path), row, BAD_ROW, message) for (path, row), message in self.bad.items()]

    def read(self, open_rows: Callable[[], Iterator[Row]]) -> Iterator[Row]:
        """The rows of a format.

        Args:
            open_rows: Opens it; every time the same.

        Raises:
            ValueError: If something cannot be read that is no single record.
        """
        num_given = num_known = 0
        while True:
            rows, num_rows = open_rows(), 0
            self._at, self._num_streams, self._num_records = None, 0, 0
            try:
                while (row := self._next(rows)) is not None:
                    num_rows += 1
                    if num_rows > num_known:
                        num_given += 1
                        yield row
                return
            except WholeFile:
                raise
            except ValueError as error:
                if self._at is None or self._at in self.bad:
                    raise
                self.bad[self._at] = str(error)
            is_one_to_one = self._num_streams == 1 and num_rows == self._num_records - 1
            self._rest, num_known = (self._records, 0) if is_one_to_one else (None, num_given)

    def follow(self, records: Iterable[tuple[int, Record]], path: Path) -> Iterator[tuple[int, Record]]:
        """As :func:`each_record`."""
        rest: Iterator[tuple[int, Record]] = iter(records) if self._rest is None else self._rest
        self._rest, self._records = None, rest
        self._num_streams += 1
        for row, record in rest:
            if (path, row) not in self.bad:
                self._at = path, row
                self._num_records += 1
                yield row, record
        self._at = None

    def _next(self, rows: Iterator[Row]) -> Row | None:
        # Only while the format runs: whoever takes the rows may read something else in between.
        token = _READING.set(self)
        try:
            return next(rows, None)
        finally:
            _READING.reset(token)
