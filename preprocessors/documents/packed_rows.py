"""Packed documents as data sets of training and validation, and their batches."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from torch import Tensor, tensor

from preprocessors.documents.packing import PackedBatch, Packer, side_by_side


class PackedRow(NamedTuple):
    """A row of documents, and its number."""

    number: int
    packed: PackedBatch


class TrainingRows:
    """Rows of training, as many in every epoch.

    Packing again for every epoch takes a few rows more or fewer each time, and a training loop wants a fixed number.
    So the rows of all packings follow one another, and an epoch is a stretch of them as long as the first packing:
    every document comes as often as every other, and none is left out.

    Args:
        packer: Packs anew for every epoch.
    """

    def __init__(self, packer: Packer) -> None:
        self.packer, self.epoch = packer, 0
        self._plan = lru_cache(maxsize=2)(packer.plan)  # an epoch may begin within one and end within the next
        self._ends = [0, len(self._plan(0))]

    def __len__(self) -> int:
        return self._ends[1]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of the next rows.

        All packings up to it are counted here, each once: workers, new in every epoch, would begin with the first one.
        """
        self.epoch = epoch
        while self._ends[-1] < (epoch + 1) * len(self):
            self._ends.append(self._ends[-1] + len(self._plan(len(self._ends) - 1)))

    def __getitem__(self, row: int) -> PackedRow:
        place = self.epoch * len(self) + row
        number = bisect_right(self._ends, place) - 1
        return PackedRow(row, self.packer.batch(self._plan(number), [place - self._ends[number]]))


class ValidationRows:
    """The first rows of the one packing in which documents keep their order and their control codes.

    Args:
        packer: Packs them.
        most: So many rows; None is all.
    """

    def __init__(self, packer: Packer, most: int | None = None) -> None:
        self.packer, self._plan = packer, packer.plan(None)
        self._rows = len(self._plan) if most is None else min(most, len(self._plan))

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> PackedRow:
        return PackedRow(row, self.packer.batch(self._plan, [row]))


class PackedCollator:
    """Rows side by side, filled up to the longest.

    Args:
        bos: Id that stands where there is no document.
    """

    def __init__(self, bos: int) -> None:
        self.bos = bos

    def __call__(self, rows: Sequence[PackedRow]) -> dict[str, Tensor]:
        """The fields of :class:`PackedBatch` by name, without those that are None, and ``rows``, int64 (B,)."""
        packed = side_by_side([row.packed for row in rows], self.bos)._asdict()
        numbers = tensor([row.number for row in rows])
        return {"rows": numbers} | {name: value for name, value in packed.items() if value is not None}
