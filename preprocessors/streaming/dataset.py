"""Shards as a torch data set of batches, dealt out to ranks and workers without overlap."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.data import IterableDataset, get_worker_info

from preprocessors.collator import IGNORE_INDEX, CaptionBatch
from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.formats.rows import NEUTRAL
from preprocessors.formats.webdataset import ShardSample, captions_of_sample
from preprocessors.interface import CaptionPreprocessor, EncodedExample
from preprocessors.pictures.containers import member_name
from preprocessors.pictures.files import picture_at_hand
from preprocessors.streaming.lanes import StreamPlan, StreamSample, lane_samples

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Share:
    """The part of a stream that a process takes.

    Attributes:
        rank: From 0.
        ranks: Processes together.
        start: Batches that each of them has taken before, over all of training.
    """

    rank: int = 0
    ranks: int = 1
    start: int = 0


class CaptionStream(IterableDataset[CaptionBatch]):
    """Batches of a training set in WebDataset shards, without end and without an index.

    Give it to a ``DataLoader`` with ``batch_size=None`` and any number of workers that the lanes can be dealt out to.
    Every rank takes as many batches as it likes, so ranks agree on the number of steps if they are told it; that their
    shards hold different numbers of samples only means that they begin an epoch at different steps.

    Args:
        plan: What is read in which order.
        share: The part of this process.
        preprocessor: Makes the model inputs.
        collate: Encoded examples to a batch.
        batch_size: Rows of a batch, which all come from one lane.
        neutral: Style of samples that have none.
        on_bad_image: ``error`` stops at a picture or caption that cannot be read; with ``skip`` its row stays in the
            batch, without a picture or a word to learn, so that all that follows stays where it was.
    """

    def __init__(
        self,
        plan: StreamPlan,
        share: Share,
        preprocessor: CaptionPreprocessor,
        collate: Callable[[Sequence[EncodedExample]], CaptionBatch],
        *,
        batch_size: int,
        neutral: str = NEUTRAL,
        on_bad_image: Literal["error", "skip"] = "error",
    ) -> None:
        self.plan, self.share, self.preprocessor, self.collate = plan, share, preprocessor, collate
        self.batch_size, self.neutral, self.on_bad_image = batch_size, neutral, on_bad_image

    def __iter__(self) -> Iterator[CaptionBatch]:
        """The batches of this process, or of this worker of it.

        Raises:
            ValueError: If the lanes cannot be dealt out to ranks and workers, or (with ``error``) a sample cannot be
                used; names the shard and the sample.
        """
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        lanes, ranks = self.plan.lanes, self.share.ranks
        if lanes % (ranks * workers):
            raise ValueError(
                f"{lanes} lanes cannot be dealt out to {ranks} ranks with {workers} workers each; use a multiple of "
                f"{ranks * workers} lanes, or other workers (train.num_workers)"
            )
        running: dict[int, Iterator[StreamSample]] = {}
        # The loader asks its first worker first, wherever training goes on.
        batch = self.share.start + worker
        while True:
            turn, lane = divmod(batch * ranks + self.share.rank, lanes)
            if lane not in running:
                running[lane] = lane_samples(self.plan, lane, skip=turn * self.batch_size)
            yield self.collate([self._encode(next(running[lane])) for _ in range(self.batch_size)])
            batch += workers

    def _encode(self, item: StreamSample) -> EncodedExample:
        sample, (name, suffix) = item.sample, self._name_of(item.sample)
        files = sample.read() if item.files is None else item.files
        try:
            ((style, captions),) = captions_of_sample(files, sample.where, self.neutral).items()
        except ValueError as error:
            return self._bad(name, error)
        self.preprocessor.registry.resolve(style, where=sample.where)  # raised whatever becomes of bad pictures
        path = self.plan.root / name
        example = CaptionExample(make_example_id(name, style), path, style, captions, str(sample.shard), sample.number)
        try:
            with picture_at_hand(path, files[suffix]):
                return self.preprocessor.encode(example, epoch=item.epoch, row=number_of(name), training=True)
        except ValueError as error:
            return self._bad(name, error)

    def _name_of(self, sample: ShardSample) -> tuple[str, str]:
        suffix = sample.picture_suffix
        inside = member_name(sample.members[suffix].name)
        return (sample.shard.relative_to(self.plan.root) / inside).as_posix(), suffix

    def _bad(self, name: str, error: ValueError) -> EncodedExample:
        if self.on_bad_image == "error":
            raise error
        logger.warning("nothing is learnt from %s: %s", name, error)
        return self._blank(name, number_of(name))

    def _blank(self, name: str, row: int) -> EncodedExample:
        transform = self.preprocessor.image_transform
        return EncodedExample(
            example_id=make_example_id(name, self.neutral),
            row=row,
            style=self.preprocessor.registry.neutral,
            input_ids=self.preprocessor.prompt_ids(None),
            patch_image=torch.zeros(3, transform.height, transform.width),
            patch_mask=False,
            labels=[IGNORE_INDEX],
        )


def number_of(name: str) -> int:
    """A picture's number in place of a row, which random draws depend on: of its name alone, in [0, 2**63)."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) >> 1
