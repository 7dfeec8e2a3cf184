"""A process of its own on loopback: slow and silent clients beside a normal one, and an end that loses no request."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from captioning.model import CaptionModel
from commands import serve
from configuration.loading import load_config
from finetune import main
from pipeline.prepare import prepare
from serving import server as module
from serving.server import bind, read_token

REPOSITORY = Path(__file__).resolve().parents[2]
IDLE = 200
"""Connections."""


@pytest.fixture
def folder(tiny_document, tmp_path):
    """A model that has learnt nothing, of 40,000 parameters."""
    conf = tmp_path / "conf.json"
    conf.write_text(json.dumps(tiny_document))
    prepare(load_config(conf)).captioner.save_to_dir(tmp_path / "tiny/output")
    return tmp_path / "tiny/output"


class Started:
    """The service as a user starts it."""

    def __init__(self, *options):
        command = [sys.executable, "finetune.py", "serve", "--port", "0", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said = io.StringIO()
        found = None
        for line in self.process.stderr:
            self.said.write(line)
            if found := re.search(r"serving on (http://127\.0\.0\.1:(\d+))", line):
                break
        assert found, self.said.getvalue()
        self.url, self.port = found[1], int(found[2])
        self.reader = threading.Thread(target=lambda: self.said.write(self.process.stderr.read()), daemon=True)
        self.reader.start()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def half_sent(picture64):
    body = json.dumps({"image": picture64, "styles": ["pirate", "robot"]}).encode()
    lines = (
        "POST /v1/captions HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + body[:20], body[20:]


def texts(answer):
    return {entry["style"]: [one["text"] for one in entry["captions"]] for entry in answer["captions"]}


def answer_from(connection):
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
        more = connection.recv(65536)
        if not more:
            break
        answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_service_answers_beside_silent_clients_and_drains(folder, picture, picture64):
    model, first, rest = CaptionModel.open(folder), *half_sent(picture64)
    expected = {
        style: [caption.text for caption in captions]
        for style, captions in model.caption([picture], ["pirate", "robot"])[0].items()
    }
    service = Started("--model", str(folder))
    try:
        with ExitStack() as stack:
            for _ in range(IDLE):
                stack.enter_context(service.connect())
            slow = stack.enter_context(service.connect())
            slow.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
            asked = {"image": picture64, "styles": ["pirate", "robot"]}
            answer = httpx.post(f"{service.url}/v1/captions", json=asked, timeout=60).json()
            assert texts(answer) == expected

            half = stack.enter_context(service.connect())
            half.sendall(first)
            while "stylecap_requests_unanswered 2.0" not in httpx.get(f"{service.url}/metrics", timeout=60).text:
                time.sleep(0.01)
            service.process.send_signal(signal.SIGTERM)
            while (ready := httpx.get(f"{service.url}/readyz", timeout=60)).status_code == 200:
                time.sleep(0.01)
            assert (ready.status_code, ready.json()["error"]["code"]) == (503, "draining")
            refused = httpx.post(f"{service.url}/v1/captions", json=asked, timeout=60)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            half.sendall(rest)
            status, finished = answer_from(half)
            assert (status, texts(finished)) == (200, expected)
        assert service.process.wait(60) == 0
        service.reader.join(10)
        lines = [json.loads(line) for line in service.process.stdout]
        assert [line["status"] for line in lines if line["path"] == "/v1/captions"][-2:] == [503, 200]
        assert "Traceback" not in service.said.getvalue()
    finally:
        service.end()


def test_connection_without_a_request_is_closed(ask, monkeypatch):
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)
    app = ask().app
    config = module.uvicorn.Config(app, http=module.ImpatientProtocol, log_config=None, lifespan="off")
    running = module.DrainingServer(config, 5)
    with bind("127.0.0.1", 0) as bound:
        address = bound.getsockname()
        thread = threading.Thread(target=running.run, args=([bound],))
        monkeypatch.setattr(module.signal, "signal", lambda *_: signal.SIG_DFL)  # which only the main thread may set
        thread.start()
        try:
            while not running.started:
                time.sleep(0.01)
            with socket.create_connection(address, timeout=20) as silent:
                assert silent.recv(1) == b""
            with socket.create_connection(address, timeout=20) as slow:
                slow.sendall(b"GET /healthz HTTP/1.1\r\nX-Slow: ")
                assert slow.recv(1) == b""
            with socket.create_connection(address, timeout=20) as kept:
                for _ in range(2):
                    kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert answer_from(kept) == (200, {"status": "ok"})
                assert kept.recv(1) == b""
            with socket.create_connection(address, timeout=20) as unfinished:  # its body comes on and on
                unfinished.sendall(b"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                assert answer_from(unfinished)[0] == 404
                unfinished.sendall(b"1\r\na\r\n")
                assert unfinished.recv(1) == b""
        finally:
            running.handle_exit(signal.SIGTERM, None)
            thread.join(20)
    assert not thread.is_alive()


def test_answers_on_a_bound_socket_do_not_wait_for_acknowledgements():
    async def nodelay_of_an_accepted_connection() -> int:
        told = asyncio.get_running_loop().create_future()
        with bind("127.0.0.1", 0) as bound:
            server = await asyncio.start_server(lambda _, writer: told.set_result(writer), sock=bound)
            _, client = await asyncio.open_connection(*bound.getsockname())
            writer = await told
            found = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for stream in (writer, client):
                stream.close()
            server.close()
        return found

    assert asyncio.run(nodelay_of_an_accepted_connection()) == 1


def test_bind_refuses_a_port_that_is_taken():
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(ValueError, match="cannot be had"):
            bind("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ValueError, match="--port"):
        bind("127.0.0.1", 70_000)


def test_read_token_of_file_and_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("STYLECAP_TOKEN", raising=False)
    assert read_token(None) is None
    monkeypatch.setenv("STYLECAP_TOKEN", "of-the-environment")
    assert read_token(None) == "of-the-environment"
    file = tmp_path / "token"
    file.write_text("of-the-file\n")
    assert read_token(file) == "of-the-file"
    for bad in ("", "two words", "schlüssel", "a\nb"):
        file.write_text(bad)
        with pytest.raises(ValueError, match="token"):
            read_token(file)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--timeout", "0"], "--timeout 0: must be at least"),
        (["--token-file", "no/such/file"], "no/such/file"),
        (["--port", "99999"], "99999"),
        ([], "no/such/model"),
    ],
)
def test_serve_says_what_cannot_be_used(options, said, capsys):
    assert main(["serve", "--model", "no/such/model", "--port", "0", *options]) == 2
    assert said in capsys.readouterr().err


def test_serve_without_its_packages_says_how_to_get_them(monkeypatch, capsys):
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    assert main(["serve", "--model", "any"]) == 2
    assert "bash scripts/setup.sh --serve" in capsys.readouterr().err
