"""Which windows of documents stand together in a row."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from preprocessors.documents.windows import Numbers


class Plan(NamedTuple):
    """Which windows stand in which row."""

    windows: Numbers
    """Of all rows, one row behind the other."""
    ends: Numbers
    """Where each row ends among them, (R,)."""
    without_code: NDArray[np.bool_]
    """(W,), by window: whether it is read without its control code."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.ends)

    def row(self, number: int) -> list[int]:
        """The windows of a row."""
        start = int(self.ends[number - 1]) if number else 0
        found: list[int] = self.windows[start : int(self.ends[number])].tolist()
        return found


def fit_rows(order: NDArray[Any], sizes: NDArray[Any], room: int) -> list[list[int]]:
    """Windows into rows: each goes where it leaves the least room, or begins a row.

    Args:
        order: Windows, in the order in which they are placed.
        sizes: Of all windows, at most ``room``.
        room: Of a row.

    Returns:
        The rows, in the order in which they were begun.
    """
    rows: list[list[int]] = []
    with_room: list[list[int]] = [[] for _ in range(room + 1)]
    there = 0  # bit r is set where a row has room for r
    for window in order.tolist():
        size = int(sizes[window])
        fitting = there >> size
        if fitting:
            left = size + (fitting & -fitting).bit_length() - 1
            row = with_room[left].pop()
            if not with_room[left]:
                there &= ~(1 << left)
        else:
            left, row = room, len(rows)
            rows.append([])
        rows[row].append(window)
        if left > size:
            with_room[left - size].append(row)
            there |= 1 << (left - size)
    return rows
