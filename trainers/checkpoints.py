"""Saves checkpoints so that there is always a whole one: aside, to the disk, renamed, read back; then others go."""

from __future__ import annotations

import errno
import logging
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from safetensors import SafetensorError

from runs.checkpoints import Checkpoint, Verifier, best_first, point_to, prune, read_checkpoint, whole_checkpoints
from runs.folder import Run
from trainers.processes import agree, broadcast, is_first
from utils.durable import STAGED, put_in_place, sync_file, sync_folder
from utils.errors import Fault, Stopped, first_line
from utils.manifest import read_manifest, seal
from utils.signals import requested_by, stop_requested, waiting

logger = logging.getLogger(__name__)

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
LOOK_AGAIN = 2.0
"""Seconds between two looks for room on a full disk."""
SAY_AGAIN = 60.0
"""Seconds after which a wait for room is told again."""


class SaveFault(NamedTuple):
    """Why a checkpoint could not be written."""

    reason: str
    is_no_room: bool


@dataclass
class CheckpointStore:
    """The checkpoints of a run that is being trained.

    All processes call the same methods at the same time; one of them keeps the books.

    Attributes:
        run: Its folder.
        about: What every manifest says, ``runs.checkpoints.Checkpoint`` without what changes from save to save.
        keep_last: Newest checkpoints that stay.
        keep_best: Best checkpoints that stay.
        greater_is_better: Of the number that the best is chosen by.
        on_lost_best: Whether the end is an ``error`` or takes the ``next`` best where the best is gone or damaged.
        verifier: Has read what was found good already.
    """

    run: Run
    about: Mapping[str, Any]
    keep_last: int = 2
    keep_best: int = 1
    greater_is_better: bool = False
    on_lost_best: Literal["error", "next"] = "error"
    verifier: Verifier = field(default_factory=Verifier)

    def save(self, step: int, write: Callable[[Path], None], about: Mapping[str, Any], expected_bytes: int) -> None:
        """Save a checkpoint and remove those that are no longer wanted.

        A full disk is waited for, as long as it takes.

        Args:
            step: Optimizer steps done.
            write: Writes all files into a folder; called by every process, and again where the disk was full.
            about: What this checkpoint's manifest says besides.
            expected_bytes: What it will take, unless an earlier one says better.

        Raises:
            Fault: If it cannot be written for another reason than a full disk.
            Stopped: If a signal ends a wait for room.
        """
        aside = self.run.checkpoints / f"{STAGED}checkpoint-{step}"
        while True:
            self._wait_for_room(step, expected_bytes)
            fault = (
                self._try(lambda: self._make_room_aside(aside))  # nobody writes before the folder is there
                or self._try(lambda: write(aside))
                or self._try(lambda: self._put_in_place(aside, step, about))
            )
            if fault is None:
                return
            if is_first():
                shutil.rmtree(aside, ignore_errors=True)
            self._give_up_or_wait(str(self.run.checkpoint(step)), fault)

    def finish_save(self, step: int) -> None:
        """Do what a save does last, in case that the process ended before it: name the best, remove others.

        After the last step no other save comes that would.

        Args:
            step: Of the checkpoint that training goes on from.

        Raises:
            Fault: As for :meth:`save`.
            Stopped: As for :meth:`save`.
        """
        saved = read_checkpoint(self.run.checkpoint(step))
        with waiting():
            self._once_there_is_room(str(self.run.checkpoints), lambda: self._keep_books(saved))

    def keep_model(self, folder: Path, write: Callable[[], None]) -> None:
        """Write the final model on the first process; a full disk is waited for.

        Args:
            folder: For messages.
            write: Writes it whole or not at all.

        Raises:
            Fault: If it cannot be written for another reason than a full disk.
            Stopped: If a signal ends a wait for room.
        """
        with waiting():
            self._once_there_is_room(str(folder), write)
            if agree(stop_requested()):
                raise Stopped(f"stopped by {requested_by()} after training; the same command evaluates {folder}")

    def best(self, step: int) -> Checkpoint:
        """The checkpoint with the best validation.

        Args:
            step: Its optimizer step, as training remembers it.

        Raises:
            Fault: If it is gone or damaged, and ``on_lost_best`` is ``error`` or none of the others is good.
        """
        faults = self.verifier.faults(self.run.checkpoint(step))
        if not faults:
            return read_checkpoint(self.run.checkpoint(step))
        left = [item for item in self._best_first() if not self.verifier.faults(item.folder)]
        lost = f"the best checkpoint is lost ({self.run.checkpoint(step).name}: {'; '.join(faults)})"
        if left and self.on_lost_best == "next":
            logger.warning("%s: %s; taking %s", self.run.checkpoints, lost, left[0].folder.name)
            return left[0]
        raise Fault(
            f"{self.run.checkpoints}: {lost}. Restore it and start again, or take the best of what is left "
            f"({left[0].folder.name if left else 'nothing'}): --set checkpoint.on_lost_best=next"
        )

    def warn_of_lost_best(self, step: int) -> None:
        """Tell early that the best checkpoint is lost, and what will become of it."""
        if not is_first() or not (faults := self.verifier.faults(self.run.checkpoint(step))):
            return
        end = "the next best (checkpoint.on_lost_best)"
        if self.on_lost_best == "error":
            end = "an error: restore it, or set checkpoint.on_lost_best=next"
        logger.warning(
            "%s: the best checkpoint is lost (%s). Unless a better one comes, the run ends with %s",
            self.run.checkpoint(step),
            "; ".join(faults),
            end,
        )

    def _best_first(self) -> list[Checkpoint]:
        return best_first([*whole_checkpoints(self.run)], greater_is_better=self.greater_is_better)

    def _make_room_aside(self, aside: Path) -> None:
        if is_first():
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)

    def _put_in_place(self, aside: Path, step: int, about: Mapping[str, Any]) -> None:
        if not is_first():
            return
        for file in (self.run.metrics, self.run.samples):  # what they say up to here is not written again
            if file.is_file():
                sync_file(file)
        seal(aside, dict(self.about) | dict(about) | {"step": step})
        folder = self.run.checkpoint(step)
        put_in_place(aside, folder)
        if faults := self.verifier.faults(folder):
            raise OSError(errno.EIO, f"what was read back differs from what was written: {'; '.join(faults)}")
        self._keep_books(read_checkpoint(folder))

    def _keep_books(self, saved: Checkpoint) -> None:
        self._point(saved)
        self._tell_damage(
            prune(
                self.run,
                self.verifier,
                keep_last=self.keep_last,
                keep_best=self.keep_best,
                greater_is_better=self.greater_is_better,
            )
        )

    def _point(self, saved: Checkpoint) -> None:
        point_to(self.run.last, saved.folder, saved.step)
        if ordered := self._best_first():
            point_to(self.run.best, ordered[0].folder, ordered[0].step, ordered[0].score)
        sync_folder(self.run.checkpoints)

    def _tell_damage(self, found: list[str]) -> None:
        for line in found:
            logger.warning("damaged since it was saved, and left where it is: %s", line)

    def _try(self, work: Callable[[], None]) -> SaveFault | None:
        """Do something with files; every process gets what went wrong in any of them."""
        fault = None
        try:
            work()
        except (OSError, SafetensorError, RuntimeError) as error:
            fault = describe_fault(error, self.run.root)
            if fault is None:
                raise
        if not agree(fault is not None):
            return None
        return SaveFault(fault.reason if fault else "another process could not write", agree(_is_no_room(fault)))

    def _once_there_is_room(self, what: str, write: Callable[[], None]) -> None:
        """Write something on the first process, again and again where the disk is full."""
        while fault := self._try(lambda: write() if is_first() else None):
            self._give_up_or_wait(what, fault)

    def _give_up_or_wait(self, what: str, fault: SaveFault) -> None:
        if not fault.is_no_room:
            raise Fault(
                f"{what}: could not be saved ({fault.reason}). Mend it and start again: the same command goes on from "
                f"{self._newest()}"
            )
        self._end_if_stopped(what)
        if is_first():
            logger.warning("%s: %s; trying again", what, fault.reason)
        time.sleep(LOOK_AGAIN)

    def _end_if_stopped(self, what: str) -> None:
        if agree(stop_requested()):
            raise Stopped(
                f"stopped by {requested_by()} without room for {what}; the same command goes on from {self._newest()}"
            )

    def _wait_for_room(self, step: int, expected_bytes: int) -> None:
        """Wait until the disk has room for a checkpoint; the first process looks, all wait."""
        told = -SAY_AGAIN
        while True:
            missing = broadcast(self._missing_bytes(expected_bytes) if is_first() else 0)
            if missing <= 0:
                return
            self._end_if_stopped(f"the checkpoint of step {step}")
            if is_first() and time.monotonic() - told >= SAY_AGAIN:
                logger.warning(
                    "%s: the disk is full; %.1f MB more are needed for the checkpoint of step %d. Training waits until "
                    "there is room", self.run.checkpoints, missing / 1e6, step
                )  # fmt: skip
                told = time.monotonic()
            time.sleep(LOOK_AGAIN)

    def _missing_bytes(self, expected: int) -> int:
        try:
            self.run.checkpoints.mkdir(parents=True, exist_ok=True)
            for item in whole_checkpoints(self.run):
                expected = sum(size for size, _ in read_manifest(item.folder).files.values())
                break
            return expected - shutil.disk_usage(self.run.checkpoints).free
        except (OSError, ValueError):
            return 0  # the save itself meets it, and says what it is

    def _newest(self) -> str:
        return next((item.folder.name for item in whole_checkpoints(self.run)), "the beginning")


def describe_fault(error: BaseException, folder: Path) -> SaveFault | None:
    """What a failed write was about; None if the error is none of a write.

    Libraries disguise what the system says: safetensors raises its own error with the system's number in its text,
    torch a ``RuntimeError`` of its archive writer without one.
    """
    if isinstance(error, OSError):
        return SaveFault(error.strerror or first_line(error), error.errno in NO_ROOM)
    text = str(error)
    if found := re.search(r"os error (\d+)", text):
        return SaveFault(first_line(error), int(found[1]) in NO_ROOM)
    if isinstance(error, SafetensorError):
        return SaveFault(first_line(error), False)
    if re.search(r"inline_container|PytorchStreamWriter|PyTorchFileWriter|file write|basic_ios::clear", text):
        free = shutil.disk_usage(folder).free
        return SaveFault(f"torch could not write a file: {first_line(error)[:200]}", free < 1 << 20)
    return None


def _is_no_room(fault: SaveFault | None) -> bool:
    return fault is not None and fault.is_no_room
