"""Nothing is sent anywhere: training, evaluation and captioning open no connection and look no name up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
WATCH = """
import os, socket

def refuse(name, real):
    def call(*arguments, **options):
        if name == "getaddrinfo" or arguments[0].family != socket.AF_UNIX:
            with open(os.environ["OPENED"], "a") as file:
                print(name, arguments[name != "getaddrinfo":], file=file)
            raise OSError("no network here")
        return real(*arguments, **options)
    return call

for name in ("connect", "connect_ex", "bind", "sendto"):
    setattr(socket.socket, name, refuse(name, getattr(socket.socket, name)))
socket.getaddrinfo = refuse("getaddrinfo", socket.getaddrinfo)
"""


@pytest.fixture
def start(tmp_path):
    """Runs Python in a process that notes and refuses what would leave the machine; gives back what was noted."""
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    opened = tmp_path / "opened.txt"

    def run(*arguments: str) -> tuple[int, str, str]:
        opened.write_text("")
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "OPENED": str(opened)}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        return done.returncode, opened.read_text(), done.stdout + done.stderr

    return run


def test_watcher_notes_what_would_leave_the_machine(start):
    program = "import urllib.request as u; u.urlopen('http://127.0.0.1:9/x')"
    code, opened, _ = start("-c", program)
    assert code == 1
    assert opened.startswith("getaddrinfo ('127.0.0.1', 9")


def test_training_evaluation_and_captions_open_no_connection(start, tiny_document, scenes, tmp_path):
    conf, model = tmp_path / "conf.json", tmp_path / "run/output"
    conf.write_text(json.dumps(tiny_document | {"work_dir": str(tmp_path / "run")}))
    picture = next((scenes / "images").iterdir())
    commands = [
        ["--conf", str(conf)],
        ["eval", "--conf", str(tmp_path / "run/config.json")],
        ["caption", "--model", str(model), "--image", str(picture), "--all-styles"],
    ]
    program = f"import finetune\nfor command in {commands}: assert finetune.main(command) == 0, command"
    code, opened, said = start("-c", program)
    assert code == 0, said
    assert opened == ""
