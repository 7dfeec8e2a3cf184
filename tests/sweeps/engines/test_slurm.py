"""Submission with a fake Slurm (fake_slurm.py), and tasks whose trials are stand-ins for finetune.py."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from sweeps.__main__ import main, make_parser
from sweeps.engines import local, slurm, slurm_scripts
from sweeps.engines.slurm import check_not_queued, given_slot, run_task, submit
from sweeps.engines.slurm_scripts import describe_submission
from sweeps.trials.folder import SweepFolder, enter_sweep
from sweeps.trials.plan import Plan
from sweeps.trials.scheduler import stretch_of
from sweeps.trials.slots import Slot, parse_slots
from utils.exit_codes import BAD_INPUT
from utils.io import read_json, write_json

HERE = Path(__file__).resolve().parents[1]
REPOSITORY = HERE.parents[1]
LRS = [1e-5, 1e-4, 1e-3, 1e-2]
CPU = parse_slots("cpu,cpu")


class FakeSlurm:
    def __init__(self, place: Path) -> None:
        self.place = place
        self.wish()

    def wish(self, **wishes: Any) -> None:
        (self.place / "wishes.json").write_text(json.dumps(wishes))

    def calls(self, program: str) -> list[dict[str, Any]]:
        file = self.place / "calls.jsonl"
        calls = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [call for call in calls if call["program"] == program]

    def options(self, name: str) -> list[str | None]:
        """Of each submission the value of an option, if it is there; the last one counts."""
        found = [dict(word.partition("=")[::2] for word in call["directives"]) for call in self.calls("sbatch")]
        return [options.get(name) for options in found]


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> FakeSlurm:
    place = tmp_path / "fake slurm"
    (place / "bin").mkdir(parents=True)
    for program in ("sbatch", "squeue", "scancel"):
        command = shlex.join([sys.executable, str(HERE / "fake_slurm.py"), program])
        (place / "bin" / program).write_text(f'#!/bin/bash\nexec {command} "$@"\n')
        (place / "bin" / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{place}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(place))
    return FakeSlurm(place)


@pytest.fixture
def sweep(make_plan, tmp_path) -> tuple[SweepFolder, Plan]:
    """Four learning rates, of which two go on after half an epoch and one after a whole one; the third is the best."""
    plan = make_plan(axes={"train.lr": LRS}, set={"train.lr_end": 0}, halving={"first": 0.5, "factor": 2})
    return SweepFolder(tmp_path / "a sweep"), plan


@pytest.fixture
def stand_in(monkeypatch) -> Callable[..., None]:
    """Trials are stand-ins, in this process and in those that scripts start; called with their wishes."""
    program = str(HERE / "stand_in.py")
    monkeypatch.setattr(local, "finetune_command", lambda job, processes: [sys.executable, program, *job.arguments])
    monkeypatch.setattr(slurm_scripts, "PROGRAM", (sys.executable, str(HERE / "sweep_with_stand_in.py")))
    monkeypatch.chdir(REPOSITORY)
    return lambda **wishes: monkeypatch.setenv("STAND_IN", json.dumps(wishes))


def _starts(folder: SweepFolder) -> list[list[str]]:
    """Trial, CUDA_VISIBLE_DEVICES and pause of every start; none if there was none."""
    file = folder.root / "trials/starts.txt"
    return [line.split(" ") for line in file.read_text().splitlines()] if file.exists() else []


def _enter(folder: SweepFolder, plan: Plan, write_run: Callable[..., Any], ended: Sequence[int]) -> None:
    """Make the sweep, with trials (by their place) that have ended the first stretch; the others have nothing."""
    enter_sweep(folder, plan)
    for place in ended:
        write_run(folder.run(plan.trials[place]), {0.5: 3.0 - place})


def _fail(folder: SweepFolder, plan: Plan, place: int) -> None:
    write_json(folder.failure(plan.trials[place]), {"code": 1, "starts": 2, "message": "exit code 1"})


def test_submit_chains_an_array_for_each_part_and_a_report(cluster, make_plan, tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    # Ten trials to half an epoch, those of ceil(5/2) = 3 configurations to one, those of ceil(3/2) = 2 to the end.
    plan = make_plan(
        axes={"train.lr": [*LRS, 3e-3]}, set={"train.lr_end": 0}, seeds=[7, 8], halving={"first": 0.5, "factor": 2}
    )
    submitted = submit(folder, plan, CPU)
    assert submitted == {
        "sweep": str(folder.root),
        "submitted": [
            {"stretch": 1, "job": "101", "tasks": 10},
            {"stretch": 2, "job": "102", "tasks": 6},
            {"stretch": 3, "job": "103", "tasks": 4},
        ],
        "report": "104",
    }
    assert [call["arguments"] for call in cluster.calls("sbatch")] == [
        ["--parsable", f"{folder.root}/slurm/stretch-1.sh"],
        ["--parsable", "--dependency=afterany:101", f"{folder.root}/slurm/stretch-2.sh"],
        ["--parsable", "--dependency=afterany:102", f"{folder.root}/slurm/stretch-3.sh"],
        ["--parsable", "--dependency=afterany:103", f"{folder.root}/slurm/report.sh"],
    ]
    assert cluster.options("--array") == ["0-9%2", "0-5%2", "0-3%2", None]
    names = ("stretch-1-%a", "stretch-2-%a", "stretch-3-%a", "report")
    assert cluster.options("--output") == [f"{folder.root}/slurm/{name}.log" for name in names]
    assert cluster.options("--chdir") == [str(Path.cwd())] * 4
    assert read_json(folder.root / "slurm/submitted.json") == submitted
    assert folder.plan.exists()


@pytest.mark.parametrize(
    ("slots", "gres", "cpus", "running"),
    [
        ("0,3", "gpu:1", "7", "2"),  # 1 * (4 + 3 loading processes)
        ("0+1,2+3,4+5", "gpu:2", "14", "3"),
        ("cpu", None, "1", "1"),
        ("cpu+cpu,cpu+cpu", None, "2", "2"),
    ],
)
def test_submit_asks_for_what_a_slot_has(cluster, make_plan, tmp_path, slots, gres, cpus, running):
    plan = make_plan(set={"train.num_workers": 3})
    submit(SweepFolder(tmp_path / "sweep"), plan, parse_slots(slots))
    assert cluster.options("--gres") == [gres, None]
    assert cluster.options("--cpus-per-task") == [cpus, "1"]
    assert cluster.options("--array") == [f"0-2%{running}", None]


def test_submit_slots_of_different_width_are_refused(cluster, sweep):
    with pytest.raises(ValueError, match=r"GPU_IDS=0\+1,2: on Slurm all trials get the same"):
        submit(*sweep, [Slot(("0", "1")), Slot(("2",))])
    with pytest.raises(ValueError, match="GPU_IDS=0,cpu: "):
        submit(*sweep, [Slot(("0",)), Slot(("cpu",))])
    assert cluster.calls("sbatch") == []
    assert not sweep[0].root.exists()


@pytest.mark.parametrize("name", ["a sweep", """it's 100% #1 "new" $HOME"""])
def test_scripts_pass_any_folder_on_unchanged(cluster, make_plan, tmp_path, monkeypatch, name):
    echo = "import json, os, sys; print(json.dumps([os.environ['OMP_NUM_THREADS'], *sys.argv[1:]]))"
    monkeypatch.setattr(slurm_scripts, "PROGRAM", (sys.executable, "-c", echo))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    folder = SweepFolder(tmp_path / name)
    submit(folder, make_plan(), parse_slots("cpu+cpu"))
    script = folder.root / "slurm/stretch-1.sh"
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "5"}
    said = subprocess.run(["bash", str(script)], env=environment, capture_output=True, text=True, check=True).stdout
    # Five CPUs for two processes: three threads, rather than none left over.
    assert json.loads(said) == ["3", "task", str(folder.root), "--stretch", "1", "--slot", "cpu+cpu", "--index", "2"]
    logs = str(folder.root / "slurm").replace("%", "%%")
    assert cluster.options("--output") == [f"{logs}/stretch-1-%a.log", f"{logs}/report.log"]
    assert cluster.options("--job-name") == [f"{name}-stretch-1", f"{name}-report"]


def test_script_outside_of_slurm_says_what_is_missing(cluster, make_plan, tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    submit(folder, make_plan(), parse_slots("0"))
    done = subprocess.run(["bash", str(folder.root / "slurm/stretch-1.sh")], capture_output=True, text=True)
    assert done.returncode != 0
    assert "SLURM_ARRAY_TASK_ID: unbound variable" in done.stderr


def test_submit_extra_options_stand_after_ours(cluster, sweep):
    submit(*sweep, parse_slots("0"), "--partition=gpu -t 12:00:00 --gres=gpu:a100:1 --comment='my \"first\" sweep'")
    assert cluster.options("--gres") == ["gpu:a100:1"] * 4
    for call in cluster.calls("sbatch"):
        words = ["--partition=gpu", "-t", "12:00:00", "--gres=gpu:a100:1", '--comment=my "first" sweep']
        assert call["directives"][-5:] == words


@pytest.mark.parametrize("option", ["--array=0-3", "-a 0-3", "-d1", "--dependency=afterok:7", "--wrap=ls", "-D /tmp"])
def test_submit_options_that_are_ours_are_refused(cluster, sweep, option):
    with pytest.raises(ValueError, match=f"--sbatch=--mem=8G {option}: .* does not go together"):
        submit(*sweep, CPU, f"--mem=8G {option}")
    assert not sweep[0].root.exists()


def test_submit_options_with_an_open_quote_are_refused(cluster, sweep):
    with pytest.raises(ValueError, match="--sbatch=--comment='x: cannot be split into options"):
        submit(*sweep, CPU, "--comment='x")


def test_submit_without_slurm_is_refused_and_writes_nothing(sweep, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="--engine slurm: no sbatch on PATH; "):
        submit(*sweep, CPU)
    assert not sweep[0].root.exists()


def test_submit_refused_in_the_middle_cancels_what_was_submitted(cluster, sweep):
    cluster.wish(refuse=3)
    said = (
        r"stretch-3\.sh: was not submitted: sbatch: error: .* Invalid qos .*; jobs 101, 102, submitted before, are canc"
    )
    with pytest.raises(ValueError, match=said):
        submit(*sweep, CPU)
    assert [call["arguments"] for call in cluster.calls("scancel")] == [["101", "102"]]
    assert len(cluster.calls("sbatch")) == 3
    cluster.wish()
    assert [job["job"] for job in submit(*sweep, CPU)["submitted"]] == ["104", "105", "106"]


def test_submit_refused_at_first_cancels_nothing(cluster, sweep):
    cluster.wish(refuse=1)
    with pytest.raises(ValueError, match="Invalid qos specification$"):
        submit(*sweep, CPU)
    assert cluster.calls("scancel") == []


def test_submit_that_cannot_cancel_names_the_jobs(cluster, sweep):
    cluster.wish(refuse=2)
    (cluster.place / "bin/scancel").write_text("#!/bin/bash\necho 'slurm is away' >&2\nexit 1\n")
    with pytest.raises(ValueError, match="scancel 101 failed too, so end these yourself: slurm is away"):
        submit(*sweep, CPU)


def test_submit_interrupted_cancels_what_was_submitted(cluster, sweep, monkeypatch):
    given = slurm.sbatch_command

    def interrupted(batch: Any, after: str | None) -> list[str]:
        if batch.stretch == 2:
            raise KeyboardInterrupt
        return given(batch, after)

    monkeypatch.setattr(slurm, "sbatch_command", interrupted)
    with pytest.raises(KeyboardInterrupt):
        submit(*sweep, CPU)
    assert [call["arguments"] for call in cluster.calls("scancel")] == [["101"]]


@pytest.mark.parametrize("queued", ["102", "102_3", "102_[3-9%2]"])
def test_submit_again_while_jobs_are_queued_is_refused(cluster, sweep, tmp_path, capsys, queued):
    folder, plan = sweep
    submit(folder, plan, CPU)
    before = folder.plan.read_bytes()
    cluster.wish(queued=[queued, "104"])
    changed = tmp_path / "changed.json"
    write_json(changed, plan.file.model_dump(mode="json") | {"retries": 5})
    again = ["run", "cpu,cpu", "--conf", str(changed), "--work_dir", str(folder.root), "--engine", "slurm"]
    assert main(again) == BAD_INPUT
    assert "Slurm still has jobs 102, 104 of this sweep; wait" in (said := capsys.readouterr().err)
    assert "scancel 102 104" in said
    assert cluster.calls("squeue")[-1]["arguments"] == ["-h", "-j", "101,102,103,104", "-o", "%i"]
    assert len(cluster.calls("sbatch")) == 4
    assert folder.plan.read_bytes() == before


def test_check_not_queued_tells_forgotten_jobs_from_a_squeue_that_fails(cluster, sweep):
    folder, plan = sweep
    check_not_queued(folder)  # never submitted: Slurm is not even asked
    assert cluster.calls("squeue") == []
    submit(folder, plan, CPU)
    cluster.wish(squeue_error="slurm_load_jobs error: Invalid job id specified")
    check_not_queued(folder)
    cluster.wish(squeue_error="slurm_load_jobs error: Unable to contact slurm controller")
    with pytest.raises(
        ValueError, match=r"jobs 101, 102, 103, 104 of this sweep, but squeue cannot say: .*Unable to co"
    ):
        check_not_queued(folder)
    (cluster.place / "bin/squeue").unlink()
    with pytest.raises(ValueError, match="no squeue on PATH; try again, or remove .*submitted.json"):
        check_not_queued(folder)


def test_describe_submission_writes_nothing_and_can_be_typed(cluster, sweep, tmp_path):
    folder, plan = sweep
    there = {path.name for path in tmp_path.iterdir()}
    described = describe_submission(folder, plan, CPU, "--partition=gpu")
    assert {path.name for path in tmp_path.iterdir()} == there
    assert cluster.calls("sbatch") == []
    submit(folder, plan, CPU, "--partition=gpu")
    scripts = [folder.root / "slurm" / f"{name}.sh" for name in ("stretch-1", "stretch-2", "stretch-3", "report")]
    texts = [f"==> {script} <==\n{script.read_text()}\n" for script in scripts]
    commands = described.removeprefix("".join(texts))
    subprocess.run(["bash", "-eu", "-c", commands], check=True)  # the scripts are there by now
    submitted = [call["arguments"] for call in cluster.calls("sbatch")]
    assert submitted[4:] == [
        [word.replace(f":{100 + number}", f":{104 + number}") for word in call]
        for number, call in enumerate(submitted[:4])
    ]


def test_submit_names_only_trials_that_have_something_to_do(cluster, sweep, write_run):
    folder, plan = sweep
    _enter(folder, plan, write_run, [0, 2])
    _fail(folder, plan, 3)  # failed before: is tried again
    submit(folder, plan, CPU)
    assert cluster.options("--array") == ["1,3%2", "0-1%2", "0%2", None]


def test_submit_begins_with_the_first_stretch_that_is_not_over(cluster, sweep, write_run):
    folder, plan = sweep
    _enter(folder, plan, write_run, range(4))
    write_run(folder.run(plan.trials[3]), {1.0: 1.0})  # the best of the first stretch comes first in the second
    submitted = submit(folder, plan, CPU)["submitted"]
    assert [(job["stretch"], job["tasks"]) for job in submitted] == [(2, 1), (3, 1)]
    assert cluster.options("--array") == ["1%2", "0%2", None]
    assert cluster.calls("sbatch")[0]["arguments"] == ["--parsable", f"{folder.root}/slurm/stretch-2.sh"]


def test_submit_of_a_finished_sweep_submits_nothing(cluster, make_sweep, write_run):
    folder, plan = make_sweep()
    for trial in plan.trials:
        write_run(folder.run(trial), {1.0: 2.0}, overall={"CIDEr": 1.0})
    assert submit(folder, plan, CPU) == {"sweep": str(folder.root), "submitted": [], "report": None}
    assert cluster.calls("sbatch") == []
    assert describe_submission(folder, plan, CPU) == "every trial is done: nothing to submit"


def test_task_takes_the_trial_of_its_place_with_the_gpus_of_slurm(sweep, stand_in, write_run, monkeypatch):
    folder, plan = sweep
    _enter(folder, plan, write_run, [0, 2, 3])
    _fail(folder, plan, 1)
    trials = stretch_of(folder, plan, 1).trials
    assert [trial.name for trial in trials] == ["004-seed7", "003-seed7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-8932f937")
    assert run_task(folder, 2, 1, parse_slots("0+1")[0]) == 0
    assert _starts(folder) == [["003-seed7", "5,GPU-8932f937", "1.0"]]


def test_task_that_fails_is_retried_recorded_and_out(sweep, stand_in, write_run):
    folder, plan = sweep
    _enter(folder, plan, write_run, [])
    stand_in(crashes={"001-seed7": 9, "002-seed7": 1})
    assert run_task(folder, 1, 0, CPU[0]) == 1
    assert read_json(folder.failure(plan.trials[0])) == {
        "code": 1,
        "starts": 2,  # retries = 1
        "message": "exit code 1: Traceback: out of memory",
    }
    assert run_task(folder, 1, 1, CPU[0]) == 0
    assert [start[0] for start in _starts(folder)] == ["001-seed7"] * 2 + ["002-seed7"] * 2
    assert [trial.name for trial in stretch_of(folder, plan, 1).trials] == ["002-seed7"]


def test_task_without_a_trial_has_nothing_to_do(sweep, stand_in, write_run, caplog):
    folder, plan = sweep
    _enter(folder, plan, write_run, [2])
    for place in (0, 1, 3):
        _fail(folder, plan, place)
    with caplog.at_level("INFO"):
        assert run_task(folder, 2, 1, CPU[0]) == 0
    assert "stretch 2 has 1 trials: nothing to do for task 1" in caplog.text
    assert _starts(folder) == []


@pytest.mark.parametrize("stretch", [2, 3])
def test_task_after_a_stretch_that_is_not_over_is_refused(sweep, stand_in, write_run, monkeypatch, stretch):
    folder, plan = sweep
    monkeypatch.setattr(slurm, "SETTLE_SECONDS", 0)
    _enter(folder, plan, write_run, [0, 2])
    _fail(folder, plan, 3)
    for place in (0, 2):  # the second stretch is over for those that are known to go on
        write_run(folder.run(plan.trials[place]), {1.0: 1.0})
    with pytest.raises(ValueError, match="stretch 1 of the sweep is not over: 002-seed7 neither ended nor failed"):
        run_task(folder, stretch, 0, CPU[0])
    assert _starts(folder) == []


def test_task_waits_for_files_that_another_node_has_just_written(sweep, write_run, monkeypatch):
    folder, plan = sweep
    _enter(folder, plan, write_run, [0, 1, 2])
    monkeypatch.setattr(slurm.time, "sleep", lambda seconds: write_run(folder.run(plan.trials[3]), {0.5: 4.0}))
    assert run_task(folder, 2, 2, CPU[0]) == 0  # two go on, so there is no third


@pytest.mark.parametrize("stretch", [0, 4])
def test_task_of_no_stretch_is_refused(sweep, write_run, stretch):
    _enter(*sweep, write_run, [])
    with pytest.raises(ValueError, match=f"--stretch {stretch}: the sweep in .* has stretches 1 to 3"):
        run_task(sweep[0], stretch, 0, CPU[0])


def test_task_of_a_script_that_was_submitted_before_is_understood():
    """Arrays may be queued for days, and their scripts say ``--part``."""
    given = make_parser().parse_args(["task", "sweep", "--part", "2", "--slot", "cpu", "--index", "3"])
    assert (given.stretch, given.index) == (2, 3)


def test_given_slot_is_what_slurm_says_if_it_is_as_wide():
    wanted = Slot(("0", "1"))
    assert given_slot(wanted, {"CUDA_VISIBLE_DEVICES": "3,5"}) == Slot(("3", "5"))
    assert given_slot(wanted, {}) == wanted
    assert given_slot(Slot(("cpu", "cpu")), {"CUDA_VISIBLE_DEVICES": "3"}) == Slot(("cpu", "cpu"))
    with pytest.raises(ValueError, match="CUDA_VISIBLE_DEVICES=3: Slurm has given 1 GPUs to a trial that takes 2"):
        given_slot(wanted, {"CUDA_VISIBLE_DEVICES": "3"})
    with pytest.raises(ValueError, match="has given 0 GPUs"):
        given_slot(wanted, {"CUDA_VISIBLE_DEVICES": ""})


def test_sweep_on_slurm_goes_from_submission_to_report(cluster, make_plan, stand_in, tmp_path):
    folder = SweepFolder(tmp_path / "a sweep")
    plan = make_plan(axes={"train.lr": LRS[1:]}, set={"train.lr_end": 0}, halving={"first": 1, "factor": 2})
    cluster.wish(run=True)
    stand_in(codes={"001-seed7": 2}, crashes={"003-seed7": 9})
    submit(folder, plan, parse_slots("0,1"))
    assert _starts(folder) == [
        ["001-seed7", "4", "1.0"],
        ["002-seed7", "4", "1.0"],
        ["003-seed7", "4", "1.0"],
        ["003-seed7", "4", "1.0"],  # retries = 1
        ["002-seed7", "4", "None"],
    ]
    board = read_json(folder.root / "leaderboard.json")
    states = {row["settings"]["train.lr"]: row["state"] for row in board["configurations"]}
    assert states == {1e-4: "failed", 1e-3: "trained", 1e-2: "failed"}
    logs = {path.name: path.read_text() for path in (folder.root / "slurm").glob("*.log")}
    names = {
        "stretch-1-0.log",
        "stretch-1-1.log",
        "stretch-1-2.log",
        "stretch-2-0.log",
        "stretch-2-1.log",
        "report.log",
    }
    assert set(logs) == names
    assert "003-seed7: exit code 1: Traceback: out of memory" in logs["stretch-1-2.log"]
    assert "nothing to do for task 1" in logs["stretch-2-1.log"]  # two were to go on, one was left


def test_task_that_slurm_ends_leaves_no_process_and_goes_on_later(cluster, sweep, stand_in):
    folder, plan = sweep
    submit(folder, plan, CPU)
    stand_in(seconds=0.3)
    script = ["bash", str(folder.root / "slurm/stretch-1.sh")]
    environment = os.environ | {"SLURM_ARRAY_TASK_ID": "2", "SLURM_CPUS_PER_TASK": "1"}
    process = subprocess.Popen(script, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not _starts(folder) and time.monotonic() < deadline:
            time.sleep(0.02)
        family = psutil.Process(process.pid).children(recursive=True)
        assert len(family) >= 2  # the leash and what it holds
        process.terminate()  # the process of the script alone, as Slurm does
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, said
    _, alive = psutil.wait_procs(family, timeout=0.5)
    assert alive == []
    trial = plan.trials[2]
    assert not folder.failure(trial).exists()
    assert not (folder.run(trial) / "checkpoints").exists()
    stand_in()
    done = subprocess.run(script, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "003-seed7 paused: epoch 0.50" in done.stderr
