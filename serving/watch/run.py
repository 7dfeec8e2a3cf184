"""A run that is watched: what its folder says, read again when something in it has changed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from reports.run.charts import line_chart, training_charts
from runs.files import Record, read_record
from runs.folder import Run
from runs.lock import is_locked
from runs.metrics_log import MetricsRow
from runs.state import RunState, describe_state
from serving.watch.alarms import Alarm, read_alarms
from serving.watch.pace import Pace, captions_in_step, measure_pace, seconds_of
from serving.watch.samples import Sample, read_samples
from utils.trees import get_number

Chart = dict[str, Any]


@dataclass(frozen=True)
class RunView:
    """A run at one moment."""

    run: Run
    state: RunState
    record: Record
    read_samples: Callable[[], list[Sample]]

    @property
    def key(self) -> str:
        """What a page asks for it by."""
        return key_of(self.run.root)

    @property
    def rows(self) -> list[MetricsRow]:
        """Of ``metrics.jsonl``."""
        return self.record.metrics.rows

    @cached_property
    def pace(self) -> Pace | None:
        """How fast it trains, if it has told."""
        starts = [seconds_of(start.time) for start in self.record.starts]
        processes = int(get_number(self.record.environment, "processes") or 1)
        each = captions_in_step(self.record.config, processes, self.rows)
        return measure_pace(self.rows, starts[-1] if starts else 0.0, self.state.max_steps, each)

    @property
    def is_training(self) -> bool:
        """Whether it lives and has steps left; afterwards it is evaluated."""
        state = self.state
        return state.state == "running" and (state.max_steps is None or state.step < state.max_steps)

    def newest(self, name: str) -> float | None:
        """The newest value of a logged number."""
        return next((value for row in reversed(self.rows) if (value := row.numbers.get(name)) is not None), None)

    @cached_property
    def alarms(self) -> list[Alarm]:
        """What it warned of."""
        return read_alarms(self.run.log)

    @cached_property
    def samples(self) -> list[Sample]:
        """The captions of its validations."""
        return self.read_samples()

    @cached_property
    def charts(self) -> list[Chart]:
        """Curves of all that is logged: the loss first, then validations, rewards, other numbers, learning rate."""
        curves = self._curves()
        losses = {name: curves.pop(f"{name}/loss", []) for name in ("train", "val")}
        validated = {name: points for name, points in curves.items() if name.startswith("val/")}
        trained = {name.removeprefix("train/"): points for name, points in curves.items() if name.startswith("train/")}
        charts = [
            _chart("Loss", "nats per token", line_chart(losses)),
            *(
                _chart(_title(name), "at validations", line_chart({"train": [], "val": points}))
                for name, points in validated.items()
            ),
            *training_charts(trained),
            _chart("Learning rate", "", line_chart({"train": trained.get("lr", [])})),
        ]
        return [chart for chart in charts if chart is not None]

    def _curves(self) -> dict[str, list[tuple[int, float]]]:
        curves: dict[str, list[tuple[int, float]]] = {}
        for row in self.rows:
            for name, value in row.numbers.items():
                if "/" in name and value is not None:
                    curves.setdefault(name, []).append((row.step, value))
        return curves


class WatchedRun:
    """A run folder; what is asked of it is read once for as long as nothing changes there.

    Args:
        run: Its folder.

    Attributes:
        key: What a page asks for it by.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.key = key_of(run.root)
        self._lock = threading.Lock()
        self._seen: tuple[Any, ...] | None = None
        self._view: RunView | None = None
        self._samples: tuple[Any, list[Sample]] = None, []

    def look(self) -> RunView:
        """The run as it is now."""
        with self._lock:
            seen = _signature(self.run)
            if self._view is None or seen != self._seen:
                held = is_locked(self.run)
                record = read_record(self.run, in_use=held)
                state = describe_state(self.run, record)
                self._view, self._seen = RunView(self.run, state, record, self._read_samples), seen
            return self._view

    def _read_samples(self) -> list[Sample]:
        """The long file of a long run; validations are rare, and the log grows at every look."""
        seen = stamps([self.run.samples])
        if seen != self._samples[0]:
            self._samples = seen, read_samples(self.run.samples)
        return self._samples[1]


def key_of(folder: Path) -> str:
    """A name for a folder that tells nothing of where it lies."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]


def stamps(files: Sequence[Path]) -> tuple[Any, ...]:
    """Time and size of some files and folders, None for those that are not there."""
    found: list[tuple[int, int] | None] = []
    for path in files:
        try:
            status = path.stat()
            found.append((status.st_mtime_ns, status.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


def _signature(run: Run) -> tuple[Any, ...]:
    files = (run.config_file, run.commands, run.environment, run.ending, run.log, run.metrics, run.samples)
    folders = (run.checkpoints, run.output, run.eval)
    try:
        results = sorted(run.eval.glob("*.json"))
    except OSError:
        results = []
    return (is_locked(run), *stamps([*files, *folders, *results]))


def _title(name: str) -> str:
    short = name.removeprefix("val/")
    return {"nll": "Validation NLL"}.get(short, f"Validation {short}")


def _chart(title: str, note: str, chart: Chart | None) -> Chart | None:
    return None if chart is None else {"title": title, "note": note} | chart
