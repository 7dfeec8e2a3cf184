"""Stands in for sbatch, squeue and scancel in tests of sweeps.

    python fake_slurm.py sbatch --parsable SCRIPT

``FAKE_SLURM`` in the environment names a folder. Every call is a row of ``calls.jsonl`` there, and ``wishes.json``
holds ``run`` (sbatch runs the tasks of an array before it returns, one after the other), ``refuse`` (the number of the
call of sbatch, from 1, that fails), ``queued`` (what squeue prints) and ``squeue_error``. Job ids count from 101.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

PLACE = Path(os.environ["FAKE_SLURM"])


def main() -> int:
    program, *arguments = sys.argv[1:]
    wishes = json.loads((PLACE / "wishes.json").read_text())
    call = {"program": program, "arguments": arguments}
    if program == "sbatch":
        call["directives"] = read_directives(Path(arguments[-1]).read_text())
    with (PLACE / "calls.jsonl").open("a") as file:
        file.write(json.dumps(call) + "\n")
    if program == "squeue":
        sys.stdout.write("".join(f"{job}\n" for job in wishes.get("queued", [])))
        sys.stderr.write(wishes.get("squeue_error", ""))
        return 1 if "squeue_error" in wishes else 0
    if program == "scancel":
        return 0
    calls = [json.loads(line)["program"] for line in (PLACE / "calls.jsonl").read_text().splitlines()]
    if calls.count("sbatch") == wishes.get("refuse"):
        sys.stderr.write("sbatch: error: Batch job submission failed: Invalid qos specification\n")
        return 1
    if wishes.get("run"):
        run_tasks(Path(arguments[-1]), options_of(call["directives"]))
    sys.stdout.write(f"{100 + calls.count('sbatch')}\n")
    return 0


def read_directives(text: str) -> list[str]:
    """Words of the #SBATCH lines before the first command, as sbatch reads them, whose quotes are not the shell's."""
    words = []
    for line in text.splitlines():
        if line.startswith("#SBATCH"):
            words += split_directive(line.removeprefix("#SBATCH"))
        elif line and not line.startswith("#"):
            break
    return words


def split_directive(line: str) -> list[str]:
    words, word, escaped, quoted = [], "", False, False
    for letter in line + " ":
        if escaped:
            word, escaped = word + letter, False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif letter == "#":
            break
        elif letter.isspace() and not quoted:
            words += [word] if word else []
            word = ""
        else:
            word += letter
    return words


def options_of(directives: list[str]) -> dict[str, str]:
    return {word.partition("=")[0]: word.partition("=")[2] for word in directives}


def run_tasks(script: Path, options: dict[str, str]) -> None:
    environment = os.environ | {"SLURM_CPUS_PER_TASK": options["--cpus-per-task"]}
    if "--gres" in options:
        count = int(options["--gres"].rpartition(":")[2])
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(str(4 + gpu) for gpu in range(count))
    for task in tasks_of(options.get("--array")):
        log = "%".join(part.replace("%a", task) for part in options["--output"].split("%%"))
        with open(log, "a") as file:
            subprocess.run(
                ["bash", str(script)],
                env=environment | ({"SLURM_ARRAY_TASK_ID": task} if task else {}),
                cwd=options["--chdir"],
                stdout=file,
                stderr=subprocess.STDOUT,
            )


def tasks_of(array: str | None) -> list[str]:
    if array is None:
        return [""]
    ranges = [part.partition("-") for part in array.partition("%")[0].split(",")]
    return [str(task) for first, _, last in ranges for task in range(int(first), int(last or first) + 1)]


if __name__ == "__main__":
    sys.exit(main())
