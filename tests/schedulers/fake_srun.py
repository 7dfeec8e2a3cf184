"""Stands in for srun and scontrol inside a job, in a folder that ``FAKE_SLURM`` names.

    python fake_srun.py srun [--kill-on-bad-exit=0] [--wait=60] COMMAND...
    python fake_srun.py scontrol requeue JOB

srun starts ``SLURM_NTASKS`` processes of this machine with the variables that Slurm gives a task, writes their ids into
``tasks``, and ends with the highest of their exit codes; of a task that a signal ended, 128 and its number. It is not
among those that Slurm's --signal tells. What scontrol is asked for goes into ``scontrol``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

PLACE = Path(os.environ["FAKE_SLURM"])


def main() -> int:
    program, *arguments = sys.argv[1:]
    if program == "scontrol":
        with (PLACE / "scontrol").open("a") as file:
            file.write(" ".join(arguments) + "\n")
        if arguments[:2] == ["show", "hostnames"]:
            print("127.0.0.1\nsecond")  # noqa: T201
        return 0
    options = {}
    while arguments[0].startswith("--"):
        name, _, value = arguments.pop(0).partition("=")
        options[name] = int(value)
    return run_tasks(arguments, options)


def run_tasks(command: list[str], options: dict[str, int]) -> int:
    count = int(os.environ["SLURM_NTASKS"])
    ranks = [{"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(count)]
    tasks = [subprocess.Popen(command, env=os.environ | rank) for rank in ranks]
    (PLACE / "tasks").write_text(" ".join(str(task.pid) for task in tasks))
    first_end = None
    while any(task.poll() is None for task in tasks):
        codes = [task.returncode for task in tasks if task.returncode is not None]
        if codes and first_end is None:
            first_end = time.monotonic()
        bad = options["--kill-on-bad-exit"] and any(codes)
        if bad or (first_end and time.monotonic() - first_end > options["--wait"]):
            for task in tasks:
                task.kill()
        time.sleep(0.02)
    return max(task.returncode if task.returncode >= 0 else 128 - task.returncode for task in tasks)


if __name__ == "__main__":
    sys.exit(main())
