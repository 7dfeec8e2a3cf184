"""From a sweep file to trials: the points on its axes, each with every seed, all of them checked."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from configuration.data import GENERATED
from configuration.groups import RunConfig
from configuration.loading import load_config
from sweeps.trials.sweep_file import Point, Range, SweepFile, read_sweep_file
from utils.io import encode_json, read_json

RESULT_GROUPS = ("overall", "per_style", "style", "diversity")
"""Of the results JSON, those with numbers to rank by."""
TOKENIZER_KEYS = ("model.name", "model.preset", "model.bpe_size")
MAX_DRAWS = 1000
"""Tries to find one more point that is new and breaks no rule."""
MAX_SHUFFLED = 100_000
"""Combinations that are shuffled; of more, points are drawn one by one."""


class Trial(NamedTuple):
    """One run: a configuration and a seed."""

    name: str
    """Of its folder, as in ``003-seed7``."""
    point: int
    """Number of its configuration, from 1; the seeds share it."""
    settings: Point
    seed: int


class Plan(NamedTuple):
    """A sweep ready to run."""

    file: SweepFile
    base: dict[str, Any]
    """Content of the base configuration."""
    trials: tuple[Trial, ...]
    epochs: int
    """Length of a whole trial; of the longest, where they differ."""
    select: str
    """Validation number by which checkpoints are chosen: loss or CIDEr."""
    split: str
    """Rows that trained trials are evaluated on: val or test."""


def load_plan(path: Path, overrides: Mapping[str, Any] | None = None, checkpoint: str | None = None) -> Plan:
    """Read a sweep file, choose the points, and check the configuration of every trial.

    Args:
        path: The sweep file.
        overrides: Settings by dotted key for all trials; they win over the file's ``set``.
        checkpoint: Trained captioner to start from, in place of the file's.

    Raises:
        FileNotFoundError: If the file or its base is missing.
        ValueError: If anything is wrong with them, or with the configuration of a trial.
    """
    file = read_sweep_file(path, overrides or {}, checkpoint)
    base = read_json(file.base)
    try:
        points = list(_points(file))
        trials = tuple(_trials(file, points))
        configs = [load_trial(file, trial) for trial in trials]
        epochs = max(map(_epochs_of, configs))
        _check_alike(file, configs)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    first = configs[0]
    return Plan(file, base, trials, epochs, first.checkpoint.select, first.eval.split)


def check_files(plan: Plan) -> None:
    """Refuse what would end trials in their first seconds: data or a model that is not there.

    Raises:
        ValueError: Naming the setting and the path.
    """
    for config in (load_trial(plan.file, trial) for trial in plan.trials):
        documents = [(f"documents.{name}", getattr(config.documents, name)) for name in ("train", "val", "test")]
        for key, path in (
            ("data.annotations", config.data.annotations),
            ("data.images", config.data.images),
            *documents,
        ):
            if path is not None and not path.exists() and config.data.format not in GENERATED:
                raise ValueError(f"{key}={path}: is not there; check the path (it is relative to {Path.cwd()})")
        name = config.model.name
        # What may be the id of a model on the hub is for finetune.py to look up.
        if name and not Path(name).exists() and (name.count("/") != 1 or Path(name).parent.is_dir()):
            raise ValueError(
                f"model.name={name}: there is no such folder; train a captioner first, or correct the path"
            )


def trial_overrides(file: SweepFile, trial: Trial) -> list[str]:
    """``key=value`` for each setting in which a trial differs from the base, its folder excepted."""
    settings = file.set | trial.settings | {"train.seed": trial.seed}
    return [f"{key}={encode_json(value).decode()}" for key, value in settings.items()]


def load_trial(file: SweepFile, trial: Trial, base: Path | None = None, work_dir: str = "a trial's own") -> RunConfig:
    """The configuration of a trial.

    Args:
        file: Of the sweep.
        trial: The trial.
        base: Stands in place of the file's.
        work_dir: Run folder.

    Raises:
        ValueError: If it is faulty; names the values of the trial.
    """
    overrides = [*trial_overrides(file, trial), f"work_dir={encode_json(work_dir).decode()}"]
    try:
        return load_config(base or file.base, overrides, {"checkpoint": file.checkpoint})
    except ValueError as error:
        raise ValueError(f"the trial with {describe_point(trial.settings)}: {error}") from error


def describe_point(point: Point) -> str:
    """A configuration in a line, as in ``train.lr=2e-05, train.warmup=0.06``."""
    return ", ".join(f"{key}={encode_json(value).decode()}" for key, value in point.items())


def _trials(file: SweepFile, points: list[Point]) -> Iterator[Trial]:
    digits = max(3, len(str(len(points))))
    for number, point in enumerate(points, start=1):
        for seed in file.seeds:
            yield Trial(f"{number:0{digits}d}-seed{seed}", number, point, seed)


def _epochs_of(config: RunConfig) -> int:
    if config.train.epochs is None:
        raise ValueError("train.epochs=null: the trials of a sweep need an end; give a number")
    return config.train.epochs


def _check_alike(file: SweepFile, configs: list[RunConfig]) -> None:
    """Refuse trials that could not be compared."""
    if len({config.checkpoint.select for config in configs}) > 1:
        raise ValueError(
            "some trials would choose checkpoints by loss, others by CIDEr; put checkpoint.select into set"
        )
    if (select := configs[0].checkpoint.select) not in ("loss", "nll", "CIDEr"):
        raise ValueError(
            f"checkpoint.select={select}: a sweep compares trials by loss or CIDEr; put one of them into set"
        )
    group, _, name = file.metric.partition(".")
    if group not in RESULT_GROUPS or (group == "overall" and any(name not in config.measured for config in configs)):
        computed = ", ".join(f"overall.{metric}" for metric in configs[0].measured)
        raise ValueError(f"metric={file.metric}: no trial has it; their results have {computed}")
    if file.halving is None:
        return
    if len({*map(_epochs_of, configs)}) > 1:
        raise ValueError("axes.train.epochs: successive halving compares trials of one length; remove one of the two")
    if file.halving.first >= _epochs_of(configs[0]):
        raise ValueError(
            f"halving.first={file.halving.first:g}: trials end after train.epochs={configs[0].train.epochs}; "
            "compare them earlier, or set halving to null"
        )
    tokenizers = [key for key in TOKENIZER_KEYS if key in file.axes]
    if tokenizers and configs[0].checkpoint.select != "CIDEr":
        raise ValueError(
            f"axes.{tokenizers[0]}: likelihoods of models with different tokens cannot be compared; "
            "put checkpoint.select=CIDEr into set, or set halving to null"
        )
    every = max(config.checkpoint.every_epochs for config in configs)
    if every > file.halving.first:
        raise ValueError(
            f"halving.first={file.halving.first:g}: nothing is validated before checkpoint.every_epochs={every:g}; "
            f"put checkpoint.every_epochs={file.halving.first:g} or less into set"
        )


def _points(file: SweepFile) -> Iterator[Point]:
    """Those of ``include``, then those of the search that are not among them."""
    found = {encode_json(point): point for point in (_in_order(file, point) for point in file.include)}
    if file.search == "grid":
        for point in _crossed(file):
            found.setdefault(encode_json(point), point)
        return iter(found.values())
    wanted = file.points or 0
    if len(found) > wanted:
        raise ValueError(f"points={wanted}: include names {len(found)} already; raise points or shorten include")
    fault, since_last = "the axes do not have so many different points", 0
    for point in _drawn(file):
        if len(found) == wanted or since_last == MAX_DRAWS:
            break
        since_last += 1
        if encode_json(point) in found:
            continue
        try:  # axes are drawn independently and meet in combinations that are refused, such as lr_end above lr
            load_trial(file, Trial("", 0, point, file.seeds[0]))
        except ValueError as error:
            fault = str(error)
        else:
            found[encode_json(point)], since_last = point, 0
    if len(found) < wanted:
        raise ValueError(f"points={wanted}: found {len(found)}; {fault}")
    return iter(found.values())


def _drawn(file: SweepFile) -> Iterator[Point]:
    """Random points; without an end where an axis is a range, else each combination once."""
    generator = random.Random(file.draw_seed)
    sizes = [len(values) for values in file.axes.values() if not isinstance(values, Range)]
    if len(sizes) == len(file.axes) and math.prod(sizes) <= MAX_SHUFFLED:
        points = list(_crossed(file))
        generator.shuffle(points)
        yield from points
        return
    while True:
        yield {
            key: values.draw(generator) if isinstance(values, Range) else generator.choice(values)
            for key, values in file.axes.items()
        }


def _crossed(file: SweepFile) -> Iterator[Point]:
    lists = [values for values in file.axes.values() if not isinstance(values, Range)]
    return (dict(zip(file.axes, values, strict=True)) for values in itertools.product(*lists))


def _in_order(file: SweepFile, point: Point) -> Point:
    return {key: point[key] for key in file.axes}
