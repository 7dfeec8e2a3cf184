"""The batch scripts under a stand-in for srun: what tasks are told, which ends queue the job again, and a real run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from utils import exit_codes

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "conf/slurm"
JOBS = ["one_node.sh", "many_nodes.sh"]
# It ends as the file of its rank says, after as many seconds.
STAND_IN = """#!/usr/bin/env bash
echo "$SLURM_PROCID ${RANK-} ${LOCAL_RANK-} ${WORLD_SIZE-} ${MASTER_ADDR-} ${MASTER_PORT-} $*" >>"$FAKE_SLURM/started"
read -r code seconds <"$FAKE_SLURM/end.$SLURM_PROCID"
sleep "$seconds"
exit "$code"
"""


@pytest.fixture
def job(tmp_path):
    """A checkout with the scripts of Slurm, and srun and scontrol on its path."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/slurm").symlink_to(FOLDER)
    for program in ("srun", "scontrol"):
        file = tmp_path / "bin" / program
        file.parent.mkdir(exist_ok=True)
        fake = Path(__file__).with_name("fake_srun.py")
        file.write_text(f'#!/usr/bin/env bash\nexec "{sys.executable}" "{fake}" {program} "$@"\n')
        file.chmod(0o755)
    _python_is(tmp_path, STAND_IN)
    return tmp_path


def _python_is(job: Path, text: str) -> None:
    python = job / ".venv/bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text(text)
    python.chmod(0o755)


def _start(job: Path, tasks: int, *arguments: str, script: str = "one_node.sh") -> subprocess.Popen[str]:
    told = {"SLURM_NTASKS": str(tasks), "SLURM_JOB_ID": "4242", "SLURM_JOB_NODELIST": "n[1-2]"}
    path = {"PATH": f"{job / 'bin'}:{os.environ['PATH']}", "FAKE_SLURM": str(job), "OMP_NUM_THREADS": "1"}
    # sbatch copies the script away, and starts it in the folder that it was called from.
    away = job / "spool"
    away.mkdir(exist_ok=True)
    (away / "slurm_script").write_bytes((FOLDER / script).read_bytes())
    command = ["bash", str(away / "slurm_script"), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=job, env=os.environ | told | path, text=True, **pipes)


def _run(job: Path, *ends: str, script: str = "one_node.sh") -> tuple[int, bool]:
    """Exit code, and whether the job was queued again, of tasks that end so ("code seconds")."""
    for rank, end in enumerate(ends):
        (job / f"end.{rank}").write_text(f"{end}\n")
    process = _start(job, len(ends), "--conf", "a b.json", script=script)
    out, _ = process.communicate(timeout=60)
    asked = (job / "scontrol").read_text().splitlines() if (job / "scontrol").exists() else []
    assert [line for line in asked if line not in ("requeue 4242", "show hostnames n[1-2]")] == [], out
    return process.returncode, "requeue 4242" in asked


@pytest.mark.parametrize("script", [*JOBS, "start.sh"])
def test_shellcheck_finds_nothing(script):
    shellcheck = str(Path(sys.executable).with_name("shellcheck"))
    done = subprocess.run([shellcheck, str(FOLDER / script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", JOBS)
def test_jobs_are_told_ahead_of_their_end_and_may_be_queued_again(script):
    lines = (FOLDER / script).read_text("utf-8").splitlines()
    head = lines[: lines.index("set -euo pipefail")]
    words = [word for line in head if line.startswith("#SBATCH") for word in line.split()[1:]]
    options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
    # With B: the batch script alone would be told, which does not save. Appended: a log of all starts.
    assert options["signal"] == "USR1@120"
    assert (options["open-mode"], options["requeue"]) == ("append", "")
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert (int(options["nodes"]) > 1) == (script == "many_nodes.sh")
    known = {"job-name", "nodes", "ntasks-per-node", "gpus-per-node", "cpus-per-task", "signal", "requeue"}
    assert set(options) == known | {"open-mode", "output"}
    assert all(line.startswith("#") for line in head)


@pytest.mark.parametrize("code", [0, 1, 2, 69, 75, 77, 78])
def test_job_ends_as_its_tasks_do_and_only_75_queues_it_again(job, code):
    assert _run(job, f"{code} 0", f"{code} 0") == (code, code == exit_codes.STOPPED)


@pytest.mark.parametrize("script", JOBS)
def test_tasks_know_their_rank_and_where_they_meet_and_get_the_arguments(job, script):
    assert _run(job, "0 0", "0 0", "0 0", script=script) == (0, False)
    started = sorted((job / "started").read_text().splitlines())
    assert started == [f"{rank} {rank} {rank} 3 127.0.0.1 24242 finetune.py --conf a b.json" for rank in range(3)]


def test_one_task_is_no_process_group(job):
    assert _run(job, "75 0") == (75, True)
    assert (job / "started").read_text() == "0      finetune.py --conf a b.json\n"


def test_task_that_ends_a_second_after_another_is_not_killed_for_it(job):
    assert _run(job, "75 0", "75 1") == (75, True)


def test_refusal_of_one_task_is_no_reason_to_queue_again(job):
    assert _run(job, "2 0", "1 0") == (2, False)


@pytest.mark.slow
def test_real_run_saves_on_usr1_is_queued_again_and_finishes(job, tiny_document):
    _python_is(job, f'#!/usr/bin/env bash\nexec "{sys.executable}" "$@"\n')
    (job / "finetune.py").symlink_to(REPOSITORY / "finetune.py")
    train = tiny_document["train"] | {"epochs": 6}
    (job / "conf.json").write_text(json.dumps(tiny_document | {"train": train}))
    process = _start(job, 2, "--conf", "conf.json", script="many_nodes.sh")
    numbers, deadline = Path(tiny_document["work_dir"]) / "metrics.jsonl", time.monotonic() + 120
    while not (numbers.exists() and "train/loss" in numbers.read_text()):
        assert process.poll() is None, process.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for task in (job / "tasks").read_text().split():
        os.kill(int(task), signal.SIGUSR1)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == exit_codes.STOPPED, out[-3000:]
    assert (job / "scontrol").read_text().splitlines()[-1] == "requeue 4242"
    assert list((Path(tiny_document["work_dir"]) / "checkpoints").glob("checkpoint-*/MANIFEST.json"))
    (job / "scontrol").unlink()
    again = _start(job, 2, "--conf", "conf.json", script="many_nodes.sh")
    out, _ = again.communicate(timeout=240)
    assert again.returncode == 0, out[-3000:]
    assert "going on from" in out
    assert "requeue" not in (job / "scontrol").read_text()
