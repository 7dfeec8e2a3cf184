"""What Slurm is given: a script with a job array for each stretch of a sweep, and one for the report at the end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sweeps.trials.folder import SweepFolder
from sweeps.trials.halving import has_ended, is_over, stretches_of
from sweeps.trials.plan import Plan, load_trial
from sweeps.trials.scheduler import check_results, stretch_of
from sweeps.trials.slots import Slot, check_alike

PROGRAM = (sys.executable, "-m", "sweeps")
"""What the scripts run."""
CPUS_PER_GPU = 4
"""Besides the processes that load pictures: for the main process and the threads that compute rewards and metrics."""
TAKEN_OPTIONS = ("--array", "--chdir", "--clusters", "--dependency", "--test-only", "--wait", "--wrap")
"""Options of sbatch that are ours to give, or with which a sweep could not be submitted as a whole."""
TAKEN_LETTERS = ("-a", "-D", "-M", "-d", "-W")
"""The same, where they have a short form."""


class Batch(NamedTuple):
    """A script for sbatch."""

    stretch: int | None
    """The stretch that it runs, from 1; None for the report at the end."""
    tasks: int
    path: Path
    text: str


def slurm_place(folder: SweepFolder) -> Path:
    """Where scripts, logs of tasks and the ids of jobs lie."""
    return folder.root / "slurm"


def make_batches(folder: SweepFolder, plan: Plan, slots: Sequence[Slot], extra: str) -> list[Batch]:
    """The scripts of what is left of a sweep, in order; none if every trial is done.

    Args:
        folder: Of the sweep; nothing is written there.
        plan: The sweep.
        slots: All alike; as many tasks of an array run at a time.
        extra: Options of sbatch, as in a shell.

    Raises:
        ValueError: If the slots differ, an option in ``extra`` is not possible, or the sweep's files are damaged.
    """
    options = _split_options(extra)
    check_alike(slots, "Slurm")
    check_results(folder, plan)
    stretches = open_stretches(folder, plan)
    if not stretches:
        return []
    resources, width = _resources(plan, slots[0]), len(slots[0].devices)
    slot = "+".join(map(str, range(width))) if slots[0].gpus else str(slots[0])
    batches = []
    for number, tasks in stretches:
        ours = [f"--array={_ranges(tasks)}%{len(slots)}", *resources]
        task = [*PROGRAM, "task", str(folder.root), "--stretch", str(number), "--slot", slot, "--index"]
        lines = [] if slots[0].gpus else [_limit_threads(width)]
        lines.append(f'exec {shlex.join(task)} "$SLURM_ARRAY_TASK_ID"')
        path, text = _script(folder, f"stretch-{number}", "-%a", [*ours, *options], lines)
        batches.append(Batch(number, len(tasks), path, text))
    lines = [f"exec {shlex.join([*PROGRAM, 'report', str(folder.root)])}"]
    path, text = _script(folder, "report", "", ["--cpus-per-task=1", *options], lines)
    return [*batches, Batch(None, 1, path, text)]


def sbatch_command(batch: Batch, after: str | None) -> list[str]:
    """The command that submits a script, to be started when another job is over, with whatever result."""
    wait = [] if after is None else [f"--dependency=afterany:{after}"]
    return ["sbatch", "--parsable", *wait, str(batch.path)]


def describe_submission(folder: SweepFolder, plan: Plan, slots: Sequence[Slot], extra: str = "") -> str:
    """The scripts that a submission would write, and its commands as they can be typed; writes and runs nothing.

    Raises:
        ValueError: As :func:`make_batches`.
    """
    batches = make_batches(folder, plan, slots, extra)
    if not batches:
        return "every trial is done: nothing to submit"
    said = [f"==> {batch.path} <==\n{batch.text}" for batch in batches]
    for number, batch in enumerate(batches):
        command = shlex.join(sbatch_command(batch, "$job" if number else None))
        command = command.replace("'--dependency=afterany:$job'", '--dependency="afterany:$job"')
        said.append(f"job=$({command})")
    return "\n".join(said)


def open_stretches(folder: SweepFolder, plan: Plan) -> list[tuple[int, list[int]]]:
    """Number of each stretch in which something is left to do, and the places of the trials in it that have to do it.

    After the first such stretch nobody can say which trials take part: all places are named then.
    """
    stretches: list[tuple[int, list[int]]] = []
    for number, stretch in enumerate(stretches_of(plan)):
        if is_over(folder, number):
            continue
        places = list(range(stretch.points * len(plan.file.seeds)))
        if not stretches:
            trials = stretch_of(folder, plan, number).trials
            places = [place for place, trial in enumerate(trials) if not has_ended(folder, plan, trial, stretch.epochs)]
        if places:
            stretches.append((number + 1, places))
    return stretches


def _script(
    folder: SweepFolder, name: str, log_suffix: str, options: Sequence[str], lines: Sequence[str]
) -> tuple[Path, str]:
    """Path and text of a script; what ``options`` has in common with those given here, it wins."""
    root = Path(os.path.abspath(folder.root))
    log = f"{str(slurm_place(SweepFolder(root))).replace('%', '%%')}/{name}{log_suffix}.log"
    common = [
        f"--job-name={root.name}-{name}",
        f"--output={log}",
        f"--chdir={Path.cwd()}",
        "--nodes=1",
        "--ntasks=1",
        # A trial goes on where it stopped: one whose node was lost may run again, and its log is kept.
        "--requeue",
        "--open-mode=append",
    ]
    # An option and its value may be two words, so they stand on one line.
    directives = [f"#SBATCH {' '.join(map(_quote, words))}" for words in (common, options)]
    note = "# exec: Slurm tells this process alone when the job is to end, and bash would not pass it on."
    text = "\n".join(["#!/bin/bash", *directives, "set -euo pipefail", *lines[:-1], note, lines[-1], ""])
    return slurm_place(folder) / f"{name}.sh", text


def _quote(word: str) -> str:
    """A word of an #SBATCH line. Older versions of sbatch know double quotes only, and see comments even in them."""
    if not set(word) & set(" \t'\"\\#"):
        return word
    return '"' + "".join(f"\\{letter}" if letter in '"\\#' else letter for letter in word) + '"'


def _resources(plan: Plan, slot: Slot) -> list[str]:
    if not slot.gpus:
        return [f"--cpus-per-task={len(slot.devices)}"]
    loaders = load_trial(plan.file, plan.trials[0]).train.num_workers
    return [f"--gres=gpu:{len(slot.gpus)}", f"--cpus-per-task={len(slot.gpus) * (CPUS_PER_GPU + loaders)}"]


def _limit_threads(processes: int) -> str:
    # Not every cluster confines a task to its CPUs; torch would take all those of the node.
    share = "SLURM_CPUS_PER_TASK" if processes == 1 else f"(SLURM_CPUS_PER_TASK + {processes - 1}) / {processes}"
    return f'export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-$(({share}))}}"'


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as Slurm writes them: ``0-3,5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def _split_options(text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"--sbatch={text}: cannot be split into options ({error})") from error
    for word in words:
        if word.partition("=")[0] in TAKEN_OPTIONS or word[:2] in TAKEN_LETTERS:
            raise ValueError(f"--sbatch={text}: {word} does not go together with the jobs of a sweep; leave it out")
    return words
