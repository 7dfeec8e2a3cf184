"""The engine for one machine: a job on every slot, the next as soon as one is free."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.engines.table import EngineKind
from sweeps.trials.jobs import TOLD, Job, Outcome, Watcher, finetune_command, last_error
from sweeps.trials.slots import Slot, check_gpus, slot_environment
from utils.environment import REPOSITORY
from utils.exit_codes import BAD_INPUT, FAULT, FINISHED, STOPPED

POLL_SECONDS = 0.2
END_SECONDS = 40.0
"""Longest wait for jobs that were told to end; the leash kills them after half of it."""


@dataclass
class _Start:
    job: Job
    slot: Slot
    number: int
    process: subprocess.Popen[bytes]


class LocalEngine:
    """Runs jobs on the slots of this machine.

    Args:
        slots: Where jobs run; one at a time on each.
        retries: How often a job that crashed is started again.
        watcher: Is told what happens.
    """

    def __init__(self, slots: Sequence[Slot], retries: int, watcher: Watcher) -> None:
        self.slots, self.retries, self.watcher = slots, retries, watcher

    def run(self, jobs: Sequence[Job]) -> dict[str, Outcome]:
        """Run all jobs; whatever ends this call ends what is running, and no process is left."""
        waiting = deque((job, 1) for job in jobs)
        free, running = deque(self.slots), list[_Start]()
        outcomes: dict[str, Outcome] = {}
        try:
            while waiting or running:
                while waiting and free:
                    job, number = waiting.popleft()
                    slot = free.popleft()
                    running.append(_Start(job, slot, number, start_job(job, slot, self.slots)))
                    self.watcher.started(job, slot, number)
                for start in [start for start in running if start.process.poll() is not None]:
                    running.remove(start)
                    free.append(start.slot)
                    outcome = outcome_of(start.job, start.process.returncode, start.number)
                    again = may_start_again(outcome, self.retries)
                    if again:
                        waiting.append((start.job, start.number + (outcome.code != STOPPED)))
                    else:
                        outcomes[start.job.name] = outcome
                    self.watcher.ended(start.job, outcome, again=again)
                self.watcher.tick()
                time.sleep(POLL_SECONDS)
        finally:
            end_jobs([start.process for start in running])
        return outcomes


def start_job(job: Job, slot: Slot, slots: Sequence[Slot]) -> subprocess.Popen[bytes]:
    """Start a job on a leash whose end is the returned process's standard input."""
    return start_on_leash(leash_command(job, len(slot.devices)), os.environ | slot_environment(slot, slots))


def leash_command(job: Job, processes: int) -> list[str]:
    """Command line of a job that runs on a leash, in so many processes."""
    leash = [sys.executable, "-P", str(REPOSITORY / "sweeps/engines/leash.py"), str(lock_of(job)), str(job.log)]
    return [*leash, *finetune_command(job, processes)]


def lock_of(job: Job) -> Path:
    """The file that a job's leash locks for as long as anything of the job is left."""
    return job.log.with_suffix(".lock")


def start_on_leash(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a :func:`leash_command` in a working directory, by default that of this process."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        env=environment,
        cwd=folder,
        start_new_session=True,  # Ctrl-C in the terminal is for the scheduler
    )


def outcome_of(job: Job, code: int, starts: int) -> Outcome:
    """How a start ended, from the exit code of its leash."""
    if code == FINISHED:
        return Outcome(FINISHED, starts, "")
    said = last_error(job.log)
    if code == FAULT:  # torchrun hides the exit code of what it started
        code = next((meant for begin, meant in TOLD.items() if said.startswith(begin)), code)
    signalled = code - 128 if code > 128 else -code if code < 0 else 0
    how = f"ended by signal {signalled}" if signalled else f"exit code {code}"
    return Outcome(code, starts, f"{how}: {said}" if said else how)


def may_start_again(outcome: Outcome, retries: int) -> bool:
    """Whether a job is worth another start; one that was stopped by a signal has saved, and always is."""
    if outcome.code == STOPPED:
        return True
    return outcome.code not in (FINISHED, BAD_INPUT) and outcome.starts <= retries


def end_jobs(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Let go of jobs and wait until they are gone; a second Ctrl-C stops the waiting, and they end all the same."""
    for process in processes:
        if process.stdin is not None:
            process.stdin.close()
    deadline = time.monotonic() + END_SECONDS
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            continue


LOCAL = EngineKind(
    check=lambda slots, option: check_gpus(slots),
    make=lambda slots, retries, watcher, option: LocalEngine(slots, retries, watcher),
)
