"""Whether a run that was interrupted goes on as it would have gone, and what is forgotten of what comes again."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

from models.settings import read_settings
from preprocessors.examples import CaptionExample, pictures_of
from preprocessors.pictures.files import hash_picture, stat_picture
from preprocessors.pictures.images import Resizer
from runs.checkpoints import Checkpoint, whole_checkpoints
from runs.folder import Run
from runs.metrics_log import cut_after
from utils.environment import describe_environment
from utils.io import read_json

logger = logging.getLogger(__name__)

DECISIVE_PACKAGES = ("torch", "transformers")
"""Another version of these may round otherwise, and the weights differ from then on."""
MOST_READ = 2000
"""Pictures whose content goes into the hash; of more than these, so many spread evenly."""


class Start(NamedTuple):
    """What a start of a run brings that its settings do not say."""

    rows_per_step: int
    processes: int
    allow_change: bool = False
    """Go on though what may round otherwise, or the pictures, have changed."""


def check_continues(run: Run, packages: Mapping[str, Any], start: Start) -> None:
    """Refuse to go on where the weights would become others than without the interruption.

    With ``start.allow_change`` other processes and versions are told and taken, as long as a step has as many rows:
    with more or fewer, the learning rate and the places of the checkpoints would be those of another run.

    Args:
        run: Its folder.
        packages: Versions that an earlier start was made with, by name.
        start: This one.

    Raises:
        ValueError: Naming what has changed, and both values.
    """
    newest = next(whole_checkpoints(run), None)
    if newest is None or run.output.is_dir():
        return
    changed = _changed_versions(packages)
    if newest.processes != start.processes:
        changed.append(f"processes: {newest.processes} -> {start.processes}")
    if newest.rows_per_step != start.rows_per_step:
        raise ValueError(
            f"{run.root}: an optimizer step of this run has {newest.rows_per_step} rows, and would have "
            f"{start.rows_per_step} now (train.batch_size x train.accumulation_steps x processes, {newest.processes} "
            f"processes then, {start.processes} now). Start as many processes as then; or let the product be "
            f"{newest.rows_per_step} again with --set train.accumulation_steps=... --allow-change"
        )
    _refuse(run, changed, start, "the weights would no longer be those of an uninterrupted run")


def resizer_of(run: Run) -> Resizer | None:
    """What a run that goes on has resized its pictures with; None before its first checkpoint.

    It is not always what a new run would take: earlier versions knew Pillow alone.
    """
    for checkpoint in whole_checkpoints(run):
        try:
            settings = read_settings(checkpoint.folder)
        except (ValueError, OSError):  # it is passed over later, with its reason
            continue
        if settings is not None:
            return settings.resizer
    return None


def check_same_pictures(run: Run, before: Mapping[str, Any], now: Mapping[str, Any], start: Start) -> None:
    """Refuse to go on with other training pictures; other times of the same files are only told.

    Raises:
        ValueError: If their content has changed.
    """
    if run.output.is_dir() or "pictures_sha256" not in before:
        return
    if before["pictures_sha256"] != now["pictures_sha256"]:
        _refuse(run, ["the training pictures: other files or other content than at the start"], start, "restore them")
    elif before.get("picture_times_sha256") != now["picture_times_sha256"]:
        logger.info("%s: the training pictures have other times than at the start, and the same content", run.root)


def hash_pictures(examples: Sequence[CaptionExample]) -> dict[str, str]:
    """Hashes of the pictures of examples: of names, sizes and content, and of their files' times.

    Of up to ``MOST_READ`` pictures the content of all counts, of more that of a sample.
    """
    count = sum(1 for _ in pictures_of(examples))
    stride = -(-count // MOST_READ)
    whole, times = hashlib.sha256(), hashlib.sha256()
    pictures = pictures_of(examples)
    with ThreadPoolExecutor() as pool:
        for start in range(0, count, MOST_READ):  # a part at a time: there may be millions
            part = [*islice(pictures, MOST_READ)]
            states = pool.map(lambda item: stat_picture(item[1]), part)
            for number, ((name, _), state) in enumerate(zip(part, states, strict=True), start):
                end = b"\n" * (number > 0)
                whole.update(end + f"{name} {state.size}".encode())
                times.update(end + str(state.mtime_ns).encode())
        read = [path for _, path in islice(pictures_of(examples), 0, None, stride)] if count else []
        for content in pool.map(hash_picture, read):
            whole.update(f"\n{content}".encode())
    return {"pictures_sha256": whole.hexdigest(), "picture_times_sha256": times.hexdigest()}


def newly_dropped(run: Run, dropped: Iterable[Mapping[str, Any]]) -> list[str]:
    """Pictures that were there when the run began, and are left out now."""
    file = run.root / "dropped_rows.json"
    before = read_json(file) if file.is_file() else []
    known = {str(row.get("detail")) for row in before if isinstance(row, dict)}
    return sorted({str(row["detail"]) for row in dropped} - known)


def forget_after(run: Run, held: Checkpoint | None) -> None:
    """Take out of the record what was written after the checkpoint that training goes on from."""
    step = 0 if held is None else held.step
    awaits = held is not None and held.awaits_validation
    for file in (run.metrics, run.samples):
        if count := cut_after(file, step, awaits_validation=awaits):
            logger.info("%s: %d rows after step %d are written again", file, count, step)


def _changed_versions(then: Mapping[str, Any]) -> list[str]:
    now = describe_environment()["packages"]
    return [
        f"{name}: {then[name]} -> {now[name]}" for name in DECISIVE_PACKAGES if then.get(name, now[name]) != now[name]
    ]


def _refuse(run: Run, changed: list[str], start: Start, why: str) -> None:
    if not changed:
        return
    listed = f"{run.root}: this run was begun with other {'; '.join(changed)}"
    if not start.allow_change:
        raise ValueError(f"{listed}; {why}. Go on all the same with --allow-change, or give another work_dir")
    logger.warning("%s; going on as --allow-change asks", listed)
