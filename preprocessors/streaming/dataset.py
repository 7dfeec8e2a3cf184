"""Shards as a torch data set whose rows are those of a stream, in the stream's order."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch.utils.data import Dataset, get_worker_info

from preprocessors.collator import IGNORE_INDEX
from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.formats.rows import NEUTRAL, REMEDY
from preprocessors.formats.webdataset import ShardSample, captions_of_sample
from preprocessors.interface import CaptionPreprocessor, EncodedExample
from preprocessors.pictures.containers import member_name
from preprocessors.pictures.files import picture_at_hand
from preprocessors.streaming.lanes import StreamPlan, StreamSample, lane_samples

logger = logging.getLogger(__name__)


class StreamedCaptions(Dataset[EncodedExample]):
    """A training set in WebDataset shards that nobody has listed.

    Its length is what a run calls an epoch; the next epoch goes on in the stream where this one ends. A place in it is
    a row of the stream, so a loader that takes batches in order, in any process, says by their places alone what they
    hold: it skips and resumes without reading. Every rank is given as many batches, whatever its shards hold.

    Args:
        plan: What is read in which order.
        preprocessor: Makes the model inputs.
        batch_size: Rows of a loader's batch, which all come from one lane.
        length: Rows of an epoch, over all ranks; a multiple of ``batch_size``.
        ranks: Processes that share the batches, each taking every so-manieth.
        neutral: Style of samples that have none.
        on_bad_image: ``error`` stops at a picture that cannot be read; with ``skip`` its row stays in the batch,
            without a picture or a word to learn, so that all that follows stays where it was.
        on_bad_row: The same for captions that cannot be read, or are none.

    Raises:
        ValueError: If an epoch does not consist of whole batches.
    """

    def __init__(
        self,
        plan: StreamPlan,
        preprocessor: CaptionPreprocessor,
        *,
        batch_size: int,
        length: int,
        ranks: int = 1,
        neutral: str = NEUTRAL,
        on_bad_image: Literal["error", "skip"] = "error",
        on_bad_row: Literal["error", "skip"] = "error",
    ) -> None:
        if length % batch_size:
            raise ValueError(f"an epoch of {length} rows does not consist of batches of {batch_size}")
        self.plan, self.preprocessor = plan, preprocessor
        self.batch_size, self.length, self.ranks = batch_size, length, ranks
        self.neutral, self.on_bad_image, self.on_bad_row = neutral, on_bad_image, on_bad_row
        # Shared memory: workers that outlive an epoch have their own copy of the data set and would not see an int.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._running: dict[tuple[int, int], tuple[int, Iterator[StreamSample]]] = {}

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (from 0) of the next rows, in worker processes as well."""
        self._epoch.fill_(epoch)

    @property
    def epoch(self) -> int:
        """The epoch that rows are taken from."""
        return int(self._epoch.item())

    def __len__(self) -> int:
        """Rows of an epoch."""
        return self.length

    def __getitem__(self, row: int) -> EncodedExample:
        """One row, for which all its batch is read; raises as :meth:`__getitems__`."""
        first = row - row % self.batch_size
        return self.__getitems__(range(first, first + self.batch_size))[row - first]

    def __getitems__(self, rows: Sequence[int]) -> list[EncodedExample]:
        """Encode the rows of one batch, as torch's loader asks for them.

        Raises:
            ValueError: If they are no batch, the lanes cannot be dealt out to ranks and workers, or (with ``error``) a
                sample cannot be used; names the shard and the sample.
        """
        batch, left = divmod(self.epoch * self.length + rows[0], self.batch_size)
        if left or [*rows] != [*range(rows[0], rows[0] + self.batch_size)]:
            raise ValueError(f"rows {rows[0]} .. {rows[-1]} are no batch of {self.batch_size}: a stream has an order")
        self._check_workers()
        turn, lane = divmod(batch, self.plan.lanes)
        key = os.getpid(), lane  # a lane that a process has inherited shares its open file with the parent
        next_turn, samples = self._running.get(key, (-1, iter(())))
        if turn != next_turn:
            samples = lane_samples(self.plan, lane, skip=turn * self.batch_size)
        self._running[key] = turn + 1, samples
        return _without_black([self._encode(next(samples)) for _ in rows])

    def __getstate__(self) -> dict[str, object]:
        # Lanes stand open at a place of this process.
        return self.__dict__ | {"_running": {}}

    def _check_workers(self) -> None:
        # With others, a lane would go from worker to worker, each of which would have to find its place anew.
        info = get_worker_info()
        workers, lanes = info.num_workers if info else 1, self.plan.lanes
        if lanes % (self.ranks * workers):
            raise ValueError(
                f"data.stream_lanes={lanes}: cannot be dealt out to {self.ranks} ranks with {workers} workers each; "
                f"use a multiple of {self.ranks * workers}, or another train.num_workers"
            )

    def _encode(self, item: StreamSample) -> EncodedExample:
        sample, (name, suffix) = item.sample, self._name_of(item.sample)
        files = sample.read() if item.files is None else item.files
        try:
            ((style, captions),) = captions_of_sample(files, sample.where, self.neutral).items()
            if not captions:
                raise ValueError(f"{sample.where}: no caption. {REMEDY}")
        except ValueError as error:
            return self._bad(name, error, self.on_bad_row)
        self.preprocessor.registry.resolve(style, where=sample.where)  # raised whatever becomes of bad pictures
        path = self.plan.root / name
        example = CaptionExample(make_example_id(name, style), path, style, captions, str(sample.shard), sample.number)
        try:
            with picture_at_hand(path, files[suffix]):
                return self.preprocessor.encode(example, epoch=item.epoch, row=number_of(name), training=True)
        except ValueError as error:
            return self._bad(name, error, self.on_bad_image)

    def _name_of(self, sample: ShardSample) -> tuple[str, str]:
        suffix = sample.picture_suffix
        inside = member_name(sample.members[suffix].name)
        return (sample.shard.relative_to(self.plan.root) / inside).as_posix(), suffix

    def _bad(self, name: str, error: ValueError, policy: Literal["error", "skip"]) -> EncodedExample:
        if policy == "error":
            raise error
        logger.warning("nothing is learnt from %s: %s", name, error)
        transform = self.preprocessor.image_transform
        return EncodedExample(
            example_id=make_example_id(name, self.neutral),
            row=number_of(name),
            style=self.preprocessor.registry.neutral,
            input_ids=self.preprocessor.prompt_ids(None),
            # Of the others' number format: one picture in another would keep its whole batch from being normalised.
            patch_image=torch.zeros(3, transform.height, transform.width, dtype=torch.uint8),
            patch_mask=False,
            labels=[IGNORE_INDEX],
        )


def _without_black(batch: list[EncodedExample]) -> list[EncodedExample]:
    """The batch, its rows without a picture sharing another's: batch norms would learn from a black one."""
    shown = next((item["patch_image"] for item in batch if item["patch_mask"]), None)
    if shown is None:
        return batch
    return [item if item["patch_mask"] else {**item, "patch_image": shown} for item in batch]


def number_of(name: str) -> int:
    """A picture's number in place of a row, which random draws depend on: of its name alone, in [0, 2**63)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1
