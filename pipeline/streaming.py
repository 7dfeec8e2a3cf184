"""Training shards that are streamed: which they are, what is known of them beforehand, and the data set over them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from configuration.data import DataConfig
from configuration.groups import RunConfig
from pipeline.data import annotations_of, read_split
from preprocessors.formats.rows import NEUTRAL, Place
from preprocessors.formats.shards import expand_shards, root_of
from preprocessors.formats.table import format_of
from preprocessors.interface import CaptionPreprocessor
from preprocessors.readers import ReadResult
from preprocessors.streaming.dataset import StreamedCaptions
from preprocessors.streaming.lanes import StreamPlan


def read_training(
    data: DataConfig,
    *,
    aliases: Mapping[str, str] | None = None,
    check_pictures: bool = True,
    neutral: str = NEUTRAL,
) -> ReadResult:
    """The training examples; of shards that are streamed, those of the first one stand for all.

    Args:
        data: Says where and how.
        aliases: As for :func:`pipeline.data.read_split`.
        check_pictures: The same.
        neutral: The same.

    Raises:
        ValueError: If there are more lanes than shards, or whatever a split cannot be read for.
    """
    if not data.streaming:
        return read_split(data, "train", aliases=aliases, check_pictures=check_pictures, neutral=neutral)
    plan = _plan_of(data, seed=0)
    first = data.model_copy(update={"train": str(plan.shards[0].relative_to(plan.root))})
    sample = read_split(first, "train", aliases=aliases, check_pictures=check_pictures, neutral=neutral)
    return replace(sample, split_id=f"{format_of(data.format).data_set}/{_pattern_of(data).name}")


def check_lanes(config: RunConfig, processes: int) -> None:
    """Refuse lanes that cannot be dealt out to processes and workers.

    Raises:
        ValueError: Naming the numbers.
    """
    lanes, workers = config.data.stream_lanes, max(config.train.num_workers, 1)
    if config.data.streaming and lanes % (processes * workers):
        raise ValueError(
            f"data.stream_lanes={lanes}: cannot be dealt out to {processes} processes with {workers} workers each; use "
            f"a multiple of {processes * workers}, or another train.num_workers"
        )


def make_stream(config: RunConfig, preprocessor: CaptionPreprocessor, args: Any) -> StreamedCaptions:
    """The training set of a run whose shards are streamed.

    Args:
        config: Of the run.
        preprocessor: Makes the model inputs.
        args: Trainer's arguments.
    """
    batch_size, train = args.per_device_train_batch_size, config.train
    return StreamedCaptions(
        _plan_of(config.data, train.seed),
        preprocessor,
        batch_size=batch_size,
        length=(train.steps or 0) * batch_size * train.accumulation_steps * args.world_size,
        ranks=args.world_size,
        neutral=preprocessor.registry.neutral,
        on_bad_image=config.data.on_bad_image,
        on_bad_row=config.data.on_bad_row,
    )


def describe_shards(data: DataConfig) -> dict[str, str]:
    """Hash of the names and sizes of the shards that are streamed, for the record of a run; empty if none are."""
    if not data.streaming:
        return {}
    plan = _plan_of(data, seed=0)
    lines = (f"{shard.relative_to(plan.root).as_posix()} {shard.stat().st_size}" for shard in plan.shards)
    return {"shards_sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest()}


def _plan_of(data: DataConfig, seed: int) -> StreamPlan:
    shards = tuple(expand_shards(_pattern_of(data)))
    return StreamPlan(shards, root_of(annotations_of(data)), seed, data.stream_lanes, data.stream_buffer)


def _pattern_of(data: DataConfig) -> Path:
    return format_of(data.format).find(Place(annotations_of(data), "train", data.train, None))
