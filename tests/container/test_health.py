"""The health check: when a container is called ill."""

from __future__ import annotations

import os
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from container.health import find_illness

TRAINING = {"TASK": "train", "CONF": "conf/a.json"}


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):  # noqa: N802
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def port():
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_service_that_answers_is_well_and_one_that_does_not_is_ill(port, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # a proxy cannot know this machine
    assert find_illness({"TASK": "serve", "PORT": str(port)}) is None
    illness = find_illness({"TASK": "serve", "PORT": "1"})
    assert illness is not None
    assert illness.startswith("http://127.0.0.1:1/healthz: ")


def test_training_without_a_sign_of_life_is_ill(tmp_path):
    run = tmp_path / "work_dir/a"
    assert find_illness(TRAINING, tmp_path) is None  # no folder yet: it reads its data
    run.mkdir(parents=True)
    (run / "log.txt").touch()
    (run / "metrics.jsonl").touch()
    assert find_illness(TRAINING, tmp_path) is None
    long_ago = time.time() - 45 * 60
    os.utime(run / "log.txt", (long_ago, long_ago))
    assert find_illness(TRAINING, tmp_path) is None  # the other one is new
    os.utime(run / "metrics.jsonl", (long_ago, long_ago))
    assert find_illness(TRAINING, tmp_path) == f"{run}: no sign of life for 45 minutes"
    assert find_illness(TRAINING | {"HEALTH_MINUTES": "60"}, tmp_path) is None
    assert find_illness(TRAINING | {"TASK": "eval"}, tmp_path) is None
