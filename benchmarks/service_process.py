"""What the benchmarks of the service share: a process of it, a client that costs little, pictures, a tiny model."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent
BOUNDARY = "picture"
READY_SECONDS = 300


class ServiceProcess:
    """``finetune.py serve`` on a free port of loopback, until the block ends.

    Args:
        options: Of the command.
        threads: Of torch, in the service.

    Attributes:
        url: Where it can be reached.
        port: Of ``url``.
    """

    def __init__(self, options: Sequence[str], threads: int) -> None:
        command = [sys.executable, str(REPOSITORY / "finetune.py"), "serve", "--port", "0", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        environment.pop("STYLECAP_TOKEN", None)
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        self._said: deque[str] = deque(maxlen=2000)
        self._ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._ready.wait(READY_SECONDS) or self.process.poll() is not None:
            self.process.kill()
            raise RuntimeError(f"the service did not start: {''.join(self._said)}")

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._said.append(line)
            if found := re.search(r"serving on (http://[\d.]+:(\d+))", line):
                self.url, self.port = found[1], int(found[2])
                self._ready.set()
        self._ready.set()

    @property
    def traces(self) -> list[str]:
        """Last lines of the stack traces that it logged."""
        ends, inside = set(), False
        for line in self._said:
            if line.startswith("Traceback"):
                inside = True
            elif inside and line[:1] not in (" ", "\n"):
                ends.add(line.strip())
                inside = False
        return sorted(ends)

    def resident_mb(self) -> float:
        """Its memory, 10^6 bytes."""
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()


class Connection:
    """A connection that is kept and asked again and again."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        if self.streams is None:
            self.streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self.streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", head)
        body = await reader.readexactly(int(length[1])) if length else b""
        if b"connection: close" in head:
            self.close()
        return int(head.split()[1]), body

    def close(self) -> None:
        """End it; asking opens another one."""
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


def form_request(picture: bytes, fields: Sequence[tuple[str, str]] = (), path: str = "/v1/captions") -> bytes:
    """A request with a picture's file, ready to be sent."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n')
    body = "".join(parts).encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
    return plain_request("POST", path, body, f"multipart/form-data; boundary={BOUNDARY}")


def json_request(path: str, document: Mapping[str, Any]) -> bytes:
    """A request with JSON, ready to be sent."""
    return plain_request("POST", path, json.dumps(document).encode(), "application/json")


def plain_request(method: str, path: str, body: bytes = b"", kind: str = "") -> bytes:
    """A request, ready to be sent."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {kind}"] if kind else []
    return "\r\n".join([*lines, "", ""]).encode() + body


def pictures(count: int, size: tuple[int, int] = (320, 240)) -> list[bytes]:
    """JPEGs that differ."""
    shades = Image.radial_gradient("L").resize(size)
    made = []
    for number in range(count):
        file = io.BytesIO()
        hue = Image.new("L", size, number * 37 % 256)
        Image.merge("HSV", (hue, Image.new("L", size, 200), shades)).convert("RGB").save(file, "JPEG", quality=85)
        made.append(file.getvalue())
    return made


def make_tiny_model(folder: Path) -> Path:
    """A model of 57,000 parameters that has learnt nothing; takes seconds."""
    from configuration.loading import load_config
    from pipeline.prepare import prepare
    from preprocessors.pictures.drawn_scenes import write_drawn_scenes

    write_drawn_scenes(folder / "scenes", num_train=12, num_val=3, size=32, val_size=32)
    side = {"layers": 1, "attention_heads": 2, "ffn_dim": 48}
    shape = {f"{name}_{key}": value for name in ("encoder", "decoder") for key, value in side.items()}
    shape |= {"d_model": 32, "resnet_width": 4, "resnet_stem_stride": 2, "image_bucket_size": 4, "token_bucket_size": 8}
    document = {
        "model": {"preset": "nano", "bpe_size": 300, "overrides": shape},
        "data": {
            "format": "jsonl",
            "annotations": str(folder / "scenes"),
            "images": str(folder / "scenes/images"),
            "picture_record": str(folder / "pictures"),
        },
        "image": {"size": 32},
        "decode": {"num_beams": 2, "max_length": 12},
        "work_dir": str(folder / "run"),
    }
    (folder / "conf.json").write_text(json.dumps(document))
    prepare(load_config(folder / "conf.json")).captioner.save_to_dir(folder / "tiny/output")
    return folder / "tiny/output"


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so many of a hundred do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share / 100 * len(ordered)))]


def wait_until_answered(port: int) -> float:
    """Seconds until a normal client's question for the models is answered."""

    async def ask() -> int:
        connection = Connection(port)
        status, _ = await asyncio.wait_for(connection.ask(plain_request("GET", "/v1/models")), 30)
        connection.close()
        return status

    start = time.perf_counter()
    assert asyncio.run(ask()) == 200
    return time.perf_counter() - start
