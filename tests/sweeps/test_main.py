"""``python -m sweeps`` as its user meets it; trials are real where said, and stand-ins for finetune.py elsewhere."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from configuration.loading import load_config
from sweeps.__main__ import main
from sweeps.trials import slots as slots_module

REPOSITORY = Path(__file__).resolve().parents[2]
STAND_IN = REPOSITORY / "tests/sweeps/sweep_with_stand_in.py"
LRS = [1e-5, 1e-4, 1e-3, 1e-2]


def _wishes(**wishes: Any) -> dict[str, str]:
    return os.environ | {"STAND_IN": json.dumps(wishes)}


@pytest.fixture
def sweep(write_sweep, tmp_path) -> list[str]:
    """Arguments of a sweep over four learning rates with two comparisons; the third is the best."""
    file = write_sweep(axes={"train.lr": LRS}, set={"train.lr_end": 0}, halving={"first": 0.5, "factor": 2})
    return ["run", "cpu,cpu", "--conf", str(file), "--work_dir", str(tmp_path / "a sweep")]


def _run(arguments: list[str], environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(STAND_IN), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, cwd=REPOSITORY)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _starts(folder: Path) -> list[tuple[str, str]]:
    """Trial and pause of every start, in their order."""
    lines = (folder / "trials/starts.txt").read_text().splitlines()
    return [(line.split()[0], line.split()[-1]) for line in lines]


def _fails(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


def test_run_halves_ranks_and_writes_everything(sweep, tmp_path):
    folder = tmp_path / "a sweep"
    done = _run(sweep)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert result["best"]["settings"] == {"train.lr": 1e-3}
    assert result["configurations"] == {"trained": 1, "stopped": 3}
    assert sorted(_starts(folder)[:4]) == [(f"{number:03d}-seed7", "0.5") for number in (1, 2, 3, 4)]
    # CIDEr and likelihood are symmetric around 1e-3: of the two beside it the earlier goes on.
    assert sorted(_starts(folder)[4:6]) == [("002-seed7", "1.0"), ("003-seed7", "1.0")]
    assert _starts(folder)[6:] == [("003-seed7", "None")]
    board = json.loads((folder / "leaderboard.json").read_bytes())
    assert [row["settings"]["train.lr"] for row in board["configurations"]] == [1e-3, 1e-4, 1e-2, 1e-5]
    assert board["configurations"][0]["interval"] == pytest.approx([0.9, 1.1])
    with (folder / "leaderboard.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train.lr"]) for row in rows] == [1e-3, 1e-4, 1e-2, 1e-5]
    assert rows[0]["overall.CIDEr"] == "1.0"
    assert "<svg" in (folder / "leaderboard.html").read_text()
    assert load_config(folder / "best.json").train.lr == 1e-3
    assert (folder / "logs/003-seed7.log").read_text().count("=== ") == 3


def test_run_of_a_finished_sweep_starts_nothing(sweep, tmp_path):
    first = _run(sweep)
    starts = _starts(tmp_path / "a sweep")
    second = _run(sweep)
    assert second.returncode == 0
    assert json.loads(second.stdout) == json.loads(first.stdout)
    assert _starts(tmp_path / "a sweep") == starts


def test_run_with_crashes_goes_on_and_says_so(sweep, tmp_path):
    environment = _wishes(crashes={"001-seed7": 1, "004-seed7": 9}, codes={"002-seed7": 2})
    done = _run(sweep, environment)
    assert done.returncode == 1
    assert json.loads(done.stdout)["configurations"] == {"trained": 1, "stopped": 1, "failed": 2}
    starts = [name for name, pause in _starts(tmp_path / "a sweep") if pause == "0.5"]
    assert {name: starts.count(name) for name in starts} == {
        "001-seed7": 2,  # crashed once, went well
        "002-seed7": 1,  # what finetune.py refuses is refused again
        "003-seed7": 1,
        "004-seed7": 2,  # retries = 1
    }
    assert "002-seed7: exit code 2: error: the training loss is nan" in done.stderr
    assert "004-seed7: exit code 1: Traceback: out of memory" in done.stderr
    board = json.loads((tmp_path / "a sweep/leaderboard.json").read_bytes())
    failures = {row["point"]: row["trials"][0]["failure"] for row in board["configurations"]}
    assert failures == {
        1: None,
        2: "exit code 2: error: the training loss is nan",
        3: None,
        4: "exit code 1: Traceback: out of memory",
    }


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_run_that_is_stopped_leaves_no_process_and_goes_on_later(sweep, tmp_path, how):
    folder = tmp_path / "a sweep"
    command = [sys.executable, str(STAND_IN), *sweep]
    process = subprocess.Popen(
        command, env=_wishes(seconds=0.7), cwd=REPOSITORY, text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        family: list[psutil.Process] = []
        # Until a trial is done and two more run: two leashes, and on each a trial with a process of its own.
        while (
            len(family) < 6 or not list(folder.glob("trials/*/checkpoints/*/MANIFEST.json"))
        ) and time.monotonic() < deadline:
            time.sleep(0.02)
            family = [member for member in psutil.Process(process.pid).children(recursive=True) if _is_alive(member)]
        assert len(family) >= 6
        if how == signal.SIGINT:
            os.killpg(process.pid, how)  # as the terminal does: every process of the group
        else:
            process.send_signal(how)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted; the same command goes on" in said
    _, alive = psutil.wait_procs(family, timeout=0.5)
    assert alive == []
    assert not (folder / "sweep.pid").exists()
    before = _starts(folder)

    done = _run(sweep)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["configurations"] == {"trained": 1, "stopped": 3}
    steps = [
        json.loads(row)["global_step"] for row in (folder / "trials/003-seed7/metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [10, 10, 20, 20, 30, 30, 40, 40]
    done_before = {name for name, _ in before} - {
        name for name, pause in _starts(folder)[len(before) :] if pause == "0.5"
    }
    assert done_before, "every trial of the first stretch was started again"


def test_second_run_of_a_running_sweep_is_refused(sweep, tmp_path):
    command = [sys.executable, str(STAND_IN), *sweep]
    process = subprocess.Popen(command, env=_wishes(seconds=5), cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "a sweep/trials").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        second = _run(sweep)
    finally:
        process.terminate()
        process.wait(60)
    assert second.returncode == 2
    assert f"this sweep is running already (process {process.pid} on" in second.stderr


def test_dry_run_prints_commands_and_writes_nothing(sweep, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # a slot leaves what is set as it is
    assert main([*sweep, "--dry-run"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4
    assert all(line.startswith("CUDA_VISIBLE_DEVICES='' OMP_NUM_THREADS=") for line in printed)
    assert "--set train.lr=0.001 --set train.seed=7" in printed[2]
    assert f"'work_dir={tmp_path}/a sweep/trials/003-seed7' --pause_after 0.5" in printed[2]
    assert not (tmp_path / "a sweep").exists()


def test_dry_run_for_another_machine_prints_the_commands_all_the_same(sweep, capsys, monkeypatch):
    monkeypatch.setattr(slots_module, "count_gpus", lambda: 1)
    assert main(["run", "0+1,2+3", *sweep[2:], "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("CUDA_VISIBLE_DEVICES=0,1 ")
    assert "-m torch.distributed.run --standalone --nproc_per_node 2" in captured.out.splitlines()[0]
    assert captured.out.splitlines()[1].startswith("CUDA_VISIBLE_DEVICES=2,3 ")
    assert "there is no GPU 1, 2, 3: this machine has GPU 0 only" in captured.err


def test_run_refuses_a_gpu_that_is_not_there(sweep, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(slots_module, "count_gpus", lambda: 2)
    message = _fails(capsys, ["run", "0,2", *sweep[2:]])
    assert message == "error: GPU_IDS: there is no GPU 2: this machine has GPUs 0 to 1; use 0 to 1\n"
    assert not (tmp_path / "a sweep").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "0,0"], "GPU 0 stands there twice"),
        (["run", "cpu", "--conf", "nowhere.json"], "nowhere.json: no such file"),
        (["run", "cpu", "--conf", "conf/sweep.json", "--set", "train.lr"], "must be key=value"),
        (["run", "cpu", "--conf", "conf/sweep.json", "--set", "train.epoch=3"], "did you mean train.epochs"),
        (["run", "cpu", "--conf", "conf/demo.json"], "unknown key"),
        (["report", "work_dir"], "is no folder of a sweep"),
        (["promote", "tests"], "is no folder of a sweep"),
        (["eval", "cpu", "tests"], "no trained run there"),
    ],
)
def test_bad_input_is_told_in_a_message(capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(REPOSITORY)
    assert message in _fails(capsys, arguments)


def test_results_cut_short_stop_the_sweep_until_they_are_removed(sweep, tmp_path):
    assert _run(sweep).returncode == 0
    results = tmp_path / "a sweep/trials/003-seed7/eval/val.json"
    results.write_bytes(results.read_bytes()[:40])
    for arguments in (sweep, ["report", str(tmp_path / "a sweep")]):
        done = _run(arguments)
        assert done.returncode == 2
        assert f"{results}, line 1" in done.stderr
        assert "Remove it and start the sweep again" in done.stderr
        assert "Traceback" not in done.stderr
    results.unlink()
    assert _run(sweep).returncode == 0


def test_another_grid_is_refused_in_the_same_folder(sweep, write_sweep, tmp_path, capsys):
    assert _run(sweep).returncode == 0
    before = (tmp_path / "a sweep/sweep.json").read_bytes()
    write_sweep(axes={"train.lr": [1e-4]}, set={"train.lr_end": 0}, halving={"first": 0.5, "factor": 2})
    message = _fails(capsys, sweep)
    assert "holds a sweep made with another grid" in message
    assert "axes" in message
    assert (tmp_path / "a sweep/sweep.json").read_bytes() == before


def test_real_trials_are_paused_continued_and_evaluated(tiny_document, write_sweep, tmp_path):
    """Two real trainings of seconds; the better one goes on, its results are those of finetune.py."""
    folder = tmp_path / "sweep"
    tiny_document["checkpoint"] = {"keep_last": 2}
    file = write_sweep(base_document=tiny_document, axes={"train.lr": [1e-6, 3e-3]}, halving={"first": 1})
    arguments = ["run", "cpu,cpu", "--conf", str(file), "--work_dir", str(folder)]
    command = [sys.executable, "-m", "sweeps", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["best"]["settings"] == {"train.lr": 3e-3}
    assert result["configurations"] == {"trained": 1, "stopped": 1}
    results = json.loads((folder / "trials/002-seed7/eval/val.json").read_bytes())
    assert result["best"]["metric"] == results["overall"]["CIDEr"]
    assert not (folder / "trials/001-seed7/output").exists()
    shutil.rmtree(folder / "trials/001-seed7")

    file = folder / "trials/002-seed7/eval/val.json"
    before = file.read_bytes()
    evaluate = [sys.executable, "-m", "sweeps", "eval", "cpu", str(folder)]
    refused = [*evaluate, "--set", "decode.num_beams=1"]
    done = subprocess.run(refused, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.returncode == 2
    assert "which must not be replaced by others; evaluate another split" in done.stderr
    assert file.read_bytes() == before
    file.unlink()
    done = subprocess.run(evaluate, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout).values()
    assert found == {"file": str(file), "overall": results["overall"]}
    assert json.loads(file.read_bytes())["per_image"] == results["per_image"]


@pytest.mark.slow
def test_real_trial_on_two_processes_trains_under_torchrun(tiny_document, write_sweep, tmp_path):
    folder = tmp_path / "sweep"
    tiny_document["train"] |= {"epochs": 1, "batch_size": 4}
    file = write_sweep(base_document=tiny_document, axes={"train.lr": [1e-3]})
    command = [sys.executable, "-m", "sweeps", "run", "cpu+cpu", "--conf", str(file), "--work_dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["configurations"] == {"trained": 1}
    # 12 pictures in four styles, 4 rows on each of two processes: 6 steps, where one process makes 12.
    assert "step 6/6, epoch 1.00" in (folder / "trials/001-seed7/log.txt").read_text()
