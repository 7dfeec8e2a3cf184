"""The entry point over the real finetune.py, in a folder that holds what the image holds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from container.health import find_illness
from container.variables import make_plan
from tests.container.bare import end_all, wait_until
from utils import exit_codes

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def image(tmp_path):
    """What Dockerfile.dockerignore lets into the image, with the volume of runs beside it."""
    app, runs = tmp_path / "app", tmp_path / "runs"
    for line in (REPOSITORY / "container/Dockerfile.dockerignore").read_text("utf-8").splitlines():
        for path in REPOSITORY.glob(line[1:].rstrip("/")) if line.startswith("!") else ():
            target = app / path.relative_to(REPOSITORY)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(path, target)
    runs.mkdir()
    (app / "work_dir").symlink_to(runs)
    return app


@pytest.fixture
def start(image):
    """Starts the entry point with the variables of the test, and none besides; ends what a failed test leaves."""
    started = []

    def run(**variables: str) -> subprocess.Popen[str]:
        environment = {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "HOME": str(image.parent / "home")}
        command = [sys.executable, "-m", "container.entrypoint"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=image, env=environment | variables, **pipes))
        return started[-1]

    yield run
    end_all(started)


def _end(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    results, told = process.communicate(timeout=300)
    return process.returncode, results, told


@pytest.mark.slow
def test_stopped_training_goes_on_is_evaluated_and_served(image, start, tiny_document, scenes, tmp_path):
    for group in ("data", "image"):  # where they lie by themselves: below work_dir
        tiny_document[group] = {
            key: value for key, value in tiny_document[group].items() if key not in ("picture_record", "feature_cache")
        }
    del tiny_document["work_dir"]
    validation = tmp_path / "validation.jsonl"
    validation.write_bytes((scenes / "val.jsonl").read_bytes())
    conf = tmp_path / "my.json"
    conf.write_text(json.dumps(tiny_document))
    before = {path: path.read_bytes() for path in image.rglob("*") if path.is_file()}
    variables = {"TASK": "train", "CONF": str(conf), "RUN": "first", "VAL_DATASET": str(validation)}
    variables |= {"LEARNING_RATE": "1e-3", "VAL_BATCH": "4", "STYLECAP_TRAIN__EPOCHS": "200"}
    run = image / "work_dir/first"

    training = start(**variables)
    wait_until(lambda: (run / "metrics.jsonl").is_file() or training.poll() is not None, seconds=240)
    training.send_signal(signal.SIGTERM)
    code, _, told = _end(training)
    assert code == exit_codes.STOPPED, told
    assert any((run / "checkpoints").iterdir())

    code, _, told = _end(start(**variables | {"RESTORE_FROM": "no"}))
    assert code == exit_codes.BAD_INPUT
    assert "holds a run already" in told
    # Other settings are not what the run began with, and no other start would change that.
    code, _, told = _end(start(**variables | {"LEARNING_RATE": "2e-3"}))
    assert code == exit_codes.BAD_INPUT, told
    stopped = start(**variables)
    wait_until(lambda: "going on from" in (run / "log.txt").read_text() or stopped.poll() is not None, seconds=240)
    stopped.send_signal(signal.SIGTERM)
    code, _, told = _end(stopped)
    assert code == exit_codes.STOPPED, told
    assert "RESTORE_FROM=latest: goes on with work_dir/first" in told

    variables |= {"RUN": "second", "STYLECAP_TRAIN__EPOCHS": "1"}
    code, results, told = _end(start(**variables))
    assert code == exit_codes.FINISHED, told
    trained = json.loads(results.splitlines()[-1])["overall"]
    assert set(trained) >= {"Bleu_4", "CIDEr"}
    config = json.loads((image / "work_dir/second/config.json").read_text())
    assert (config["train"]["lr"], config["eval"]["batch_size"]) == (1e-3, 4)
    assert config["data"]["val"] == str(validation)
    code, results, told = _end(start(TASK="eval", RUN="second", STYLECAP_EVAL__SPLIT="val"))
    assert code == exit_codes.FINISHED, told
    assert json.loads(results.splitlines()[-1])["overall"] == trained

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    variables = {"TASK": "serve", "RUN": "second", "PORT": port}
    service = start(**variables)
    wait_until(lambda: find_illness(variables, image) is None or service.poll() is not None, seconds=120)
    service.send_signal(signal.SIGTERM)
    code, _, told = _end(service)
    assert code == exit_codes.FINISHED, told
    assert "STYLECAP_TOKEN is not set" in told
    assert {path: path.read_bytes() for path in image.rglob("*") if path.is_file()} == before


def test_shipped_demo_is_a_run_for_the_entry_point(image):
    command = make_plan({"CONF": "conf/demo.json"}, ["--print-config"], root=image).command
    environment = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=image, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["work_dir"] == "work_dir/demo"
    assert list((image / "work_dir").iterdir()) == []
