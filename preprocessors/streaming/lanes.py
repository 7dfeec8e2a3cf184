"""The order in which shards are read: in lanes, each an endless sequence of samples that depends on the seed alone."""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from preprocessors.formats.webdataset import ShardSample, shard_samples

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StreamPlan:
    """What is read, and in which order.

    Every epoch the shards are shuffled and dealt out to the lanes, so that each sample comes once in an epoch. Batches
    come from the lanes in turn: number ``m`` of all ranks together is the batch ``m // lanes`` of lane ``m % lanes``.
    So neither the number of ranks nor of workers changes what a batch holds.

    Attributes:
        shards: WebDataset tars.
        root: Folder that names of pictures begin at.
        seed: Of the run.
        lanes: At most as many as shards, and a multiple of ranks x workers.
        buffer: Samples of a lane that are shuffled with one another; about as many pictures are held in memory.

    Raises:
        ValueError: If there are fewer shards than lanes, or a number is below 1.
    """

    shards: tuple[Path, ...]
    root: Path
    seed: int
    lanes: int
    buffer: int = 1000

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be."""
        if self.lanes < 1 or self.buffer < 1:
            raise ValueError(
                f"data.stream_lanes={self.lanes}, data.stream_buffer={self.buffer}: both must be at least 1"
            )
        if len(self.shards) < self.lanes:
            raise ValueError(
                f"data.stream_lanes={self.lanes}: {self.root} has {len(self.shards)} shards, and each lane needs one "
                "of its own. Use fewer lanes (and so fewer ranks x workers), or make smaller shards."
            )

    def shards_of(self, lane: int, epoch: int) -> list[Path]:
        """The shards of a lane in an epoch, both from 0, in their order."""
        shards = list(self.shards)
        random.Random(f"{self.seed}/shards/{epoch}").shuffle(shards)
        return shards[lane :: self.lanes]


class StreamSample(NamedTuple):
    """A sample in its turn; ``files`` holds what was read of it already, None = nothing."""

    epoch: int
    sample: ShardSample
    files: dict[str, bytes] | None


def lane_samples(plan: StreamPlan, lane: int, skip: int = 0) -> Iterator[StreamSample]:
    """The samples of a lane, epoch after epoch, without end.

    A lane goes on to its next epoch as soon as its own shards are through, whatever the others do.

    Args:
        plan: The order.
        lane: From 0.
        skip: Samples that were taken before; their pictures are not read, only the headers of their shards.

    Raises:
        FileNotFoundError: If a shard is gone.
        ValueError: If a shard is damaged, or all those of the lane hold no sample.
    """
    epoch, taken = 0, 0
    while True:
        before = taken
        for item in _epoch_samples(plan, lane, epoch, skip - taken):
            taken += 1
            if taken > skip:
                yield item
        if taken == before:
            first = plan.shards_of(lane, epoch)[0]
            raise ValueError(f"{first}: this shard and the others of its lane hold no picture with a caption")
        epoch += 1


def _epoch_samples(plan: StreamPlan, lane: int, epoch: int, skip: int) -> Iterator[StreamSample]:
    """The samples of a lane in an epoch through the shuffle buffer; files are read ahead once ``skip`` are out."""
    generator = random.Random(f"{plan.seed}/buffer/{epoch}/{lane}")
    held: list[StreamSample] = []
    given = 0
    for shard in plan.shards_of(lane, epoch):
        for sample in _usable(shard):
            item = StreamSample(epoch, sample, sample.read() if given >= skip else None)
            if len(held) < plan.buffer:
                held.append(item)
                continue
            place = generator.randrange(plan.buffer)
            held[place], item = item, held[place]
            given += 1
            yield item
    generator.shuffle(held)
    yield from held


def _usable(shard: Path) -> Iterator[ShardSample]:
    faults: Counter[str] = Counter()
    for sample in shard_samples(shard):
        if sample.fault:
            faults[sample.fault] += 1
        else:
            yield sample
    if faults:
        counted = ", ".join(f"{count} {fault}" for fault, count in faults.items())
        logger.warning("%s: left out %s", shard, counted)
