"""Command lines to run somewhere, and what came of them."""

from __future__ import annotations

import itertools
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from sweeps.trials.folder import SweepFolder
from sweeps.trials.plan import Plan, Trial, trial_overrides
from sweeps.trials.slots import Slot
from utils import exit_codes
from utils.environment import REPOSITORY

LAST_BYTES = 20_000
LONGEST_MESSAGE = 1_000
TOLD = {"error:": exit_codes.BAD_INPUT, "failed:": exit_codes.FAULT, "stopped by": exit_codes.STOPPED}
"""How what finetune.py tells begins, and the exit code that it ends with; torchrun hides the code."""
EXCEPTION = re.compile(r"(\[rank\d+\]:\s*)?[\w.]*(Error|Exception)\b(?!:$)")
"""Last line of a traceback; torchrun's own has nothing after the colon."""
OF_LAUNCHER = re.compile(r"Traceback|[WEI]\d{4} |\[")
"""What torchrun says after the program has ended begins so."""
START_OF_LOG = "=== "
"""What the leash writes before everything that a start says begins so."""


@dataclass(frozen=True)
class Job:
    """One start of finetune.py, wherever it will run."""

    name: str
    arguments: tuple[str, ...]
    """Of finetune.py."""
    log: Path
    """What it says is appended there."""


class Outcome(NamedTuple):
    """How a job ended for good."""

    code: int
    """Exit code of its last start, 128 and the number of the signal that ended it; 0 if all is well."""
    starts: int
    """How often it was started."""
    message: str
    """The last thing it said, if it failed."""


class Engine(Protocol):
    """Runs jobs side by side; one that fails never stops the others."""

    def run(self, jobs: Sequence[Job]) -> dict[str, Outcome]:
        """Run all and wait for them.

        Returns:
            By name of the job how it ended.
        """


class Watcher(Protocol):
    """Is told what happens to jobs."""

    def started(self, job: Job, slot: Slot, starts: int) -> None:
        """A job was started, for the ``starts``-th time."""

    def ended(self, job: Job, outcome: Outcome, *, again: bool) -> None:
        """A start of a job is over; ``again`` if it will be started once more."""

    def tick(self) -> None:
        """Called a few times per second."""


def job_of(folder: SweepFolder, plan: Plan, trial: Trial, epochs: float | None) -> Job:
    """The job that takes a trial so far; None = to its end."""
    # Before the folder is made, for those who only want to see the commands, the base itself.
    arguments = ["--conf", str(folder.base if folder.base.exists() else plan.file.base)]
    if plan.file.checkpoint is not None:
        arguments += ["--checkpoint", plan.file.checkpoint]
    for override in (*trial_overrides(plan.file, trial), f"work_dir={folder.run(trial)}"):
        arguments += ["--set", override]
    if epochs is not None:
        arguments += ["--pause_after", f"{epochs}"]
    return Job(trial.name, tuple(arguments), folder.log(trial))


def finetune_command(job: Job, processes: int) -> list[str]:
    """Command line of a job; several processes start under torchrun, which finds a free port itself."""
    program = str(REPOSITORY / "finetune.py")
    if processes == 1:
        return [sys.executable, program, *job.arguments]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    return [sys.executable, *launcher, program, *job.arguments]


def in_shell(command: Sequence[str], environment: dict[str, str]) -> str:
    """A command line as it can be typed."""
    return " ".join([f"{name}={shlex.quote(value)}" for name, value in environment.items()] + [shlex.join(command)])


def last_error(log: Path) -> str:
    """What the last start of a failed job said: the error that finetune.py told, an exception, or the last line."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_BYTES))
            lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    begin = max((i for i, line in enumerate(lines) if line.startswith(START_OF_LOG)), default=-1)
    said = [line for line in lines[begin + 1 :] if set(line) - set("=-")]  # torchrun rules off what it says
    told = max((i for i, line in enumerate(said) if line.startswith((*TOLD,))), default=None)
    if told is not None:
        message = [said[told]]
        if message[0].endswith(":"):  # several faults, a line for each
            message += itertools.takewhile(lambda line: not OF_LAUNCHER.match(line), said[told + 1 :])
        return "; ".join(message)[:LONGEST_MESSAGE]
    exceptions = [line for line in said if EXCEPTION.match(line)]
    return (exceptions or said or [""])[-1][:LONGEST_MESSAGE]
