"""A program that is told to stop at some moment: how it ends, what is left, and whether it goes on exactly."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from runs.folder import Run
from tests.faults import tiny
from tests.faults.children import ranks_of
from tests.faults.warm import Warm, end_session, orphans

PROGRAM = "tests.faults.children:program"
LIMIT = 10.0
"""Seconds from the signal to the end."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


class Stop(NamedTuple):
    """When who is told what."""

    ranks: int
    number: int
    target: str
    """``launcher``, ``all`` or the number of a rank."""
    after: float
    """Seconds from the start."""
    again_after: float | None = None
    """Seconds to a second signal."""


class Outcome(NamedTuple):
    """How it went."""

    phase: str
    code: int | None
    seconds: float
    wrong: str


def draw(ranks: int, choice: random.Random, seconds: float) -> Stop:
    """A random stop in a run that takes so many seconds."""
    targets = ["launcher"] if ranks == 1 else ["launcher", "all", "0", "1"]
    return Stop(ranks, choice.choice(SIGNALS), choice.choice(targets), choice.uniform(0.0, seconds))


def try_stop(warm: Warm, conf: Path, log: Path, stop: Stop, expected: dict[str, str]) -> Outcome:
    """Start, tell, wait, look for orphans, start again, compare."""
    leader = warm.start(PROGRAM, log, arguments=["--conf", str(conf)], ranks=stop.ranks)
    early = warm.wait(leader, stop.after)
    phase = phase_of(log.read_text(errors="replace") if log.exists() else "")
    told = time.monotonic()
    if early is None:
        tell(leader, stop)
    code = early if early is not None else warm.wait(leader, LIMIT)
    seconds = time.monotonic() - told
    wrong = _look(leader, stop, code, log)
    if code is None:
        end_session(leader)
        warm.wait(leader, 10)
    return Outcome(phase, code, seconds, wrong or go_on(warm, conf, log, stop.ranks, expected))


def tell(leader: int, stop: Stop) -> None:
    targets = {"launcher": lambda: [leader], "all": lambda: [leader, *ranks_of(leader)]}
    chosen: Callable[[], list[int]] = targets.get(stop.target, lambda: ranks_of(leader)[int(stop.target) :][:1])
    for target in chosen():
        try:
            os.kill(target, stop.number)
        except ProcessLookupError:
            pass


def go_on(warm: Warm, conf: Path, log: Path, ranks: int, expected: dict[str, str]) -> str:
    """Start again until the end; what differs from the undisturbed run."""
    again = log.with_suffix(".again")
    code: Any = warm.call(PROGRAM, again, arguments=["--conf", str(conf)], ranks=ranks)
    if code != 0:
        return f"the next start ended with {code}: {again.read_text()[-1500:]}"
    found = tiny.digest(Run(conf.with_suffix("")))
    differing = [part for part in expected if found[part] != expected[part]]
    return f"{', '.join(differing)} differ" if differing else ""


def phase_of(text: str) -> str:
    """Where a program stood, from what it had said."""
    if "/output" in text:
        return "final folder and evaluation"
    if "step " in text:
        return "training, validation, saves"
    return "start and data"


def _look(leader: int, stop: Stop, code: int | None, log: Path) -> str:
    said = log.read_text(errors="replace")
    if code is None:
        return f"{stop}: still ran {LIMIT} s after it: {said[-1500:]}"
    if code not in (0, 75, -stop.number):
        return f"{stop}: ended with {code}: {said[-2500:]}"
    if "Traceback" in said:
        return f"{stop}: traceback: {said[-2500:]}"
    if left := orphans(leader):
        return f"{stop}: left {left}"
    return ""
