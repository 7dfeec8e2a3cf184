"""Sweeps on a Slurm cluster: a job array for each stretch, all submitted at once, and no process that stays behind.

Each array waits until the one before it is over, with whatever result. A task of it finds out from the files which of
the trials that are left it is, so nobody has to wait for a comparison in order to submit what comes after it.

Every node needs this repository, the Python that runs it, the sweep's folder and what the configurations name under the
same paths, that is, on a file system that all nodes share and that knows locks.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweeps.engines.local import LocalEngine
from sweeps.engines.slurm_scripts import Batch, describe_submission, make_batches, sbatch_command, slurm_place
from sweeps.engines.table import EngineKind
from sweeps.standings.board import Board
from sweeps.trials.folder import SweepFolder, enter_sweep, read_plan
from sweeps.trials.halving import has_ended, is_over, record_choice, stretches_of
from sweeps.trials.plan import Plan
from sweeps.trials.scheduler import run_stretch, stretch_of
from sweeps.trials.slots import Slot
from utils.exit_codes import FAULT, FINISHED
from utils.io import read_json, write_json, write_text

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 60.0
"""A file written on one node may stay unseen on another for so long: NFS keeps what it knows of folders."""
POLL_SECONDS = 2.0


def submit(folder: SweepFolder, plan: Plan, slots: Sequence[Slot], extra: str = "") -> dict[str, Any]:
    """Submit what is left of a sweep.

    Args:
        folder: Of the sweep, locked, and held by no engine. It is made and entered, unless there is a reason not to
            submit.
        plan: The sweep.
        slots: As many tasks run at a time, each with the GPUs of a slot, or its processes on the CPU. The ids say
            nothing: which GPUs, and on which nodes, is for Slurm to choose.
        extra: Options of sbatch, as in a shell; they win over ours.

    Returns:
        ``sweep``, ``submitted`` (of each its ``stretch``, ``job`` and ``tasks``) and ``report`` (the job that ranks
        the trials at the end; None, with nothing submitted, if every trial is done).

    Raises:
        ValueError: If there is no Slurm, the slots differ, an option is not possible, the sweep's files are damaged,
            or sbatch refuses a job; those submitted before that one are cancelled.
    """
    check_slurm()
    batches = make_batches(folder, plan, slots, extra)
    enter_sweep(folder, plan, len(slots[0].devices))
    jobs: list[str] = []
    try:
        for batch in batches:
            write_text(batch.path, batch.text)
            jobs.append(_submit(batch, jobs[-1] if jobs else None))
            # After each one: should this process be killed, the next submission still knows what to ask for.
            write_json(_record(folder), _summary(folder, batches, jobs))
    except ValueError as error:
        raise ValueError(f"{error}{_cancel(jobs)}") from error
    except BaseException:
        logger.warning("nothing stays submitted%s", _cancel(jobs))
        raise
    if jobs:
        logger.info("to see the jobs: squeue -j %s; to end them: scancel %s", ",".join(jobs), " ".join(jobs))
    else:
        logger.info("every trial is done: nothing to submit")
    return _summary(folder, batches, jobs)


def check_slurm() -> None:
    """Refuse to go on without Slurm.

    Raises:
        ValueError: If there is no sbatch.
    """
    if shutil.which("sbatch") is None:
        raise ValueError(
            "--engine slurm: no sbatch on PATH; run this on a login node of the cluster, or leave --engine out"
        )


def check_not_queued(folder: SweepFolder) -> None:
    """Refuse a sweep of which Slurm still has jobs, whatever is to run it now.

    Raises:
        ValueError: Naming them.
    """
    record = _record(folder)
    if not record.exists():
        return
    try:
        held = read_json(record)
        jobs = [str(job["job"]) for job in held["submitted"]] + ([str(held["report"])] if held["report"] else [])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{record}: does not name jobs; remove it if Slurm has none of this sweep") from error
    done = _call(["squeue", "-h", "-j", ",".join(jobs), "-o", "%i"])
    # It says so of a single job that it has forgotten; of several it leaves such out.
    if done.returncode and "Invalid job id" not in done.stderr:
        raise ValueError(
            f"{folder.root}: Slurm may still have jobs {', '.join(jobs)} of this sweep, but squeue cannot say: "
            f"{_said(done)}; try again, or remove {record} if they are gone"
        )
    queued = {line.strip().partition("_")[0] for line in done.stdout.splitlines()}  # 12, 12_3 or 12_[4-9%2]
    left = [job for job in jobs if job in queued]
    if left:
        raise ValueError(
            f"{folder.root}: Slurm still has jobs {', '.join(left)} of this sweep; wait for them, or end them with "
            f"scancel {' '.join(left)}"
        )


def run_task(folder: SweepFolder, number: int, index: int, slot: Slot) -> int:
    """Run a task of a job array: take one trial through one stretch, on this machine.

    Args:
        folder: Of the sweep.
        number: Of the stretch, from 1.
        index: Place of the trial in it, from 0. There may be none: of those planned some may have failed before.
        slot: GPUs, as many as Slurm has given this task, or processes on the CPU.

    Returns:
        Exit code: 0, or 1 if the trial failed, which is recorded.

    Raises:
        FileNotFoundError: If there is no such sweep.
        ValueError: If its files are damaged, it has no such stretch, one before it is not over, or Slurm has given
            another number of GPUs.
        KeyboardInterrupt: If Slurm ends the job; the trial has been ended and goes on from its last checkpoint.
    """
    plan = read_plan(folder)
    total = len(stretches_of(plan))
    if not 1 <= number <= total:
        raise ValueError(f"--stretch {number}: the sweep in {folder.root} has stretches 1 to {total}")
    place = given_slot(slot, os.environ)
    for earlier in range(1, number):
        _wait_until_over(folder, plan, earlier)
    record_choice(folder, plan, number - 1)
    stretch = stretch_of(folder, plan, number - 1)
    if not 0 <= index < len(stretch.trials):
        logger.info("stretch %d has %d trials: nothing to do for task %d", number, len(stretch.trials), index)
        return FINISHED
    board = Board(folder, plan)
    board.enter(stretch)
    alone = stretch._replace(trials=(stretch.trials[index],))
    failures = run_stretch(folder, plan, alone, LocalEngine([place], plan.file.retries, board))
    return FAULT if failures else FINISHED


def given_slot(wanted: Slot, environment: Mapping[str, str]) -> Slot:
    """The GPUs that Slurm has given a task; what was wanted on the CPU, and where Slurm names none.

    Raises:
        ValueError: If there are more or fewer than wanted: the batch size of a trial depends on it.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if not wanted.gpus or named is None:
        return wanted
    given = tuple(gpu.strip() for gpu in named.split(",") if gpu.strip())
    if len(given) != len(wanted.gpus):
        raise ValueError(
            f"CUDA_VISIBLE_DEVICES={named}: Slurm has given {len(given)} GPUs to a trial that takes "
            f"{len(wanted.gpus)}; let --sbatch say nothing about their number, or make the slots as wide"
        )
    return Slot(given)


def _wait_until_over(folder: SweepFolder, plan: Plan, number: int) -> None:
    # Which trials go on follows from all of them, so one that was cancelled or ran out of time must not be passed over.
    if is_over(folder, number - 1):
        return
    stretch = stretch_of(folder, plan, number - 1)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        left = [
            trial.name
            for trial in stretch.trials
            if not has_ended(folder, plan, trial, stretch.epochs) and not folder.failure(trial).exists()
        ]
        if not left:
            return
        if time.monotonic() >= deadline:
            raise ValueError(
                f"stretch {number} of the sweep is not over: {', '.join(left)} neither ended nor failed (cancelled, "
                "out of time?), so nobody can say which trials go on; submit the sweep again"
            )
        time.sleep(POLL_SECONDS)


def _submit(batch: Batch, after: str | None) -> str:
    """Submit a script; returns the job's id."""
    done = _call(sbatch_command(batch, after))
    job = (done.stdout.split() or [""])[-1].partition(";")[0]  # a cluster's name may stand behind it
    if done.returncode or not job.isdigit():
        raise ValueError(f"{batch.path}: was not submitted: {_said(done)}")
    return job


def _cancel(jobs: Sequence[str]) -> str:
    """Cancel jobs; returns what to tell about it."""
    if not jobs:
        return ""
    done = _call(["scancel", *jobs])
    if done.returncode:
        return f"; scancel {' '.join(jobs)} failed too, so end these yourself: {_said(done)}"
    return f"; jobs {', '.join(jobs)}, submitted before, are cancelled"


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, 127, "", f"no {command[0]} on PATH")


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"


def _record(folder: SweepFolder) -> Path:
    return slurm_place(folder) / "submitted.json"


def _summary(folder: SweepFolder, batches: Sequence[Batch], jobs: Sequence[str]) -> dict[str, Any]:
    submitted = [*zip(batches, jobs, strict=False)]  # fewer jobs than scripts while they are being submitted
    return {
        "sweep": str(folder.root),
        "submitted": [
            {"stretch": batch.stretch, "job": job, "tasks": batch.tasks}
            for batch, job in submitted
            if batch.stretch is not None
        ],
        "report": next((job for batch, job in submitted if batch.stretch is None), None),
    }


SLURM = EngineKind(
    check=lambda slots, option: check_slurm(),
    submit=submit,
    describe=describe_submission,
    check_free=check_not_queued,
)
