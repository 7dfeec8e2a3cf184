"""What a person sees while a sweep runs: a live table in a terminal, a line for each event elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table

from runs.folder import Run
from sweeps.trials.folder import SweepFolder
from sweeps.trials.halving import has_ended
from sweeps.trials.jobs import Job, Outcome
from sweeps.trials.plan import Plan, Trial
from sweeps.trials.progress import Progress, read_progress, read_results
from sweeps.trials.scheduler import OpenStretch
from sweeps.trials.slots import Slot
from utils.trees import get_number

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 1.0
COLOURS = {"running": "cyan", "trained": "green", "failed": "red", "stopped": "dim", "waiting": "dim", "paused": ""}


@dataclass
class _Row:
    trial: Trial
    state: str = "waiting"
    slot: str = ""
    started: float = 0.0
    epoch_at_start: float = 0.0
    goal: float = 0.0
    """Epochs that the trial ends this stretch at."""
    progress: Progress = field(default_factory=Progress)
    cider: float | None = None


class Board:
    """Follows the trials of a sweep.

    Args:
        folder: Of the sweep.
        plan: The sweep.
        console: Where the table is drawn.
    """

    def __init__(self, folder: SweepFolder, plan: Plan, console: Console | None = None) -> None:
        self.folder, self.plan = folder, plan
        self.console = console or Console(file=sys.stderr)
        self.rows = {trial.name: _Row(trial) for trial in plan.trials}
        self.validated = "CIDEr" if plan.select == "CIDEr" else "NLL"
        self.title = ""
        self.live: Live | None = None
        self._refreshed = 0.0
        for row in self.rows.values():
            self._read(row)

    @contextmanager
    def shown(self) -> Iterator[Board]:
        """Draw the table for as long as this lasts, if there is a terminal."""
        if not self.console.is_terminal:
            yield self
            return
        direct = sys.stderr
        with Live(self.render(), console=self.console, auto_refresh=False) as self.live:
            _move_logging(direct, sys.stderr)  # Live puts a stream there that writes above the table
            try:
                yield self
                self._draw()
            finally:
                _move_logging(sys.stderr, direct)
        self.live = None

    def enter(self, stretch: OpenStretch) -> None:
        """A stretch of the sweep begins."""
        taking_part = {trial.name for trial in stretch.trials}
        for name, row in self.rows.items():
            if row.state == "trained":
                continue
            if name in taking_part:
                row.goal = self._length(row) if stretch.epochs is None else stretch.epochs
                row.state = "paused" if has_ended(self.folder, self.plan, row.trial, stretch.epochs) else "waiting"
            elif row.state != "failed":
                row.state = "stopped"
        self.title = f"stretch {stretch.number} of {stretch.total}: {len(stretch.trials)} trials {stretch.goal}"
        logger.info("%s", self.title)

    def started(self, job: Job, slot: Slot, starts: int) -> None:
        """A trial was started."""
        row = self.rows[job.name]
        self._read(row)
        row.state, row.slot, row.started = "running", str(slot), time.monotonic()
        # Training goes on from the checkpoint of the last validation; what came after it comes again.
        row.epoch_at_start = row.progress.validations[-1].epoch if row.progress.validations else 0.0
        again = "" if starts == 1 else f", start {starts}"
        self._say("%s on %s%s; %s", job.name, slot, again, job.log)

    def ended(self, job: Job, outcome: Outcome, *, again: bool) -> None:
        """A start of a trial is over."""
        row = self.rows[job.name]
        self._read(row)
        row.slot = ""
        if outcome.code:
            row.state = "waiting" if again else "failed"
            logger.warning("%s: %s%s", job.name, outcome.message, "; starting it again" if again else "")
            return
        row.state = "trained" if row.state == "trained" else "paused"
        self._say("%s %s: %s", job.name, row.state, self._numbers(row))

    def tick(self) -> None:
        """Draw the table again, now and then."""
        if self.live is not None and time.monotonic() - self._refreshed >= REFRESH_SECONDS:
            for row in self.rows.values():
                if row.state == "running":
                    row.progress = read_progress(Run(self.folder.run(row.trial)))
            self._draw()

    def render(self) -> Table:
        """The table as it is now."""
        table = Table(title=self._headline(), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        validated = f"best val {self.validated}"
        for name in ("trial", "state", "on", "step", "epoch", "loss", validated, "best CIDEr", "left"):
            table.add_column(name, justify="left" if name in ("trial", "state", "on") else "right")
        for row in self._most_telling():
            table.add_row(*self._cells(row), style=COLOURS[row.state])
        return table

    def _most_telling(self) -> list[_Row]:
        """Rows that fit the screen; where there are too many, the ones that run and the best."""
        rows = list(self.rows.values())
        room = max(4, self.console.size.height - 6)
        if len(rows) <= room:
            return rows
        order = {"running": 0, "failed": 1, "trained": 2, "paused": 3, "waiting": 4, "stopped": 5}
        kept = sorted(rows, key=lambda row: (order[row.state], -(row.cider or 0.0)))[:room]
        return [row for row in rows if row in kept]

    def _cells(self, row: _Row) -> list[str]:
        progress = row.progress
        value = progress.best_value(self.plan.select)
        cider = row.cider if row.cider is not None else progress.best_value("CIDEr")
        total = round(progress.step / progress.epoch * self._length(row)) if progress.epoch else 0
        return [
            row.trial.name,
            row.state,
            row.slot,
            f"{progress.step}/{total}" if total else "",
            f"{progress.epoch:.2f}" if progress.epoch else "",
            "" if progress.loss is None else f"{progress.loss:.3f}",
            "" if value is None else f"{abs(value):.4f}",
            "" if cider is None else f"{cider:.4f}",
            _time(self._seconds_left(row)),
        ]

    def _length(self, row: _Row) -> float:
        return float(row.trial.settings.get("train.epochs", self.plan.epochs))

    def _seconds_left(self, row: _Row) -> float | None:
        done = row.progress.epoch - row.epoch_at_start
        if row.state != "running" or done <= 0:
            return None
        return (time.monotonic() - row.started) / done * max(0.0, row.goal - row.progress.epoch)

    def _headline(self) -> str:
        states = [row.state for row in self.rows.values()]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        known = [left for row in self.rows.values() if (left := self._seconds_left(row)) is not None]
        stretch, epoch_seconds = f"{self.title}; {counts}", self._epoch_seconds()
        if not known or not epoch_seconds:
            return stretch
        waiting = sum(row.goal - row.progress.epoch for row in self.rows.values() if row.state == "waiting")
        rest = sum(known) + waiting * epoch_seconds
        return f"{stretch}; about {_time(rest / max(1, states.count('running')))} left in it"

    def _epoch_seconds(self) -> float:
        """Seconds per epoch of the trials that are running."""
        rows = [row for row in self.rows.values() if row.state == "running"]
        done = sum(row.progress.epoch - row.epoch_at_start for row in rows)
        return sum(time.monotonic() - row.started for row in rows) / done if done > 0 else 0.0

    def _read(self, row: _Row) -> None:
        run = Run(self.folder.run(row.trial))
        row.progress = read_progress(run)
        try:
            results = read_results(run, self.plan.split)
        except ValueError as error:  # told again, and then for good, when the sweep is ranked
            logger.warning("%s", error)
            return
        if results is not None:
            row.state, row.cider = "trained", get_number(results, "overall.CIDEr")

    def _numbers(self, row: _Row) -> str:
        value = row.progress.best_value(self.plan.select)
        said = [f"epoch {row.progress.epoch:.2f}"]
        said += [] if value is None else [f"best val {self.validated} {abs(value):.4f}"]
        said += [] if row.cider is None else [f"{self.plan.split} CIDEr {row.cider:.4f}"]
        return ", ".join(said)

    def _say(self, message: str, *arguments: object) -> None:
        if self.live is None:  # the table says it already
            logger.info(message, *arguments)

    def _draw(self) -> None:
        self._refreshed = time.monotonic()
        if self.live is not None:
            self.live.update(self.render(), refresh=True)


def _move_logging(old: TextIO, new: TextIO) -> None:
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
