"""The process: its sockets, slow connections, and an end that lets everybody finish."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from captioning.model import CaptionModel
from captioning.text_completion import open_text_completion
from preprocessors.pictures.images import limit_pixels
from serving.app import make_app
from serving.limits import Limits
from serving.telemetry import access_logger

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "STYLECAP_TOKEN"
HEAD_SECONDS = 10.0
"""A connection that has not sent the head of a request by then is closed."""
BACKLOG = 2048
CLOSE_SECONDS = 5
"""For connections to close once all answers are on their way."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ImpatientProtocol(H11Protocol):
    """Closes connections that send no request, or its head byte by byte: uvicorn waits for them for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the head."""
        super().connection_made(transport)
        self._head = self.loop.call_later(HEAD_SECONDS, self._close_if_headless)

    def connection_lost(self, exc: Exception | None) -> None:
        """End to wait."""
        self._head.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next one."""
        super().on_response_complete()
        self._head.cancel()
        self._head = self.loop.call_later(HEAD_SECONDS, self._close_if_headless)

    def _close_if_headless(self) -> None:
        # Answered, or never asked; what a client still sends of an answered request does not keep it open either.
        if self.conn.our_state in (h11.IDLE, h11.DONE) and not self.transport.is_closing():
            self.transport.close()


class DrainingServer(uvicorn.Server):
    """Told to end, takes nothing new, and ends once everybody who was let in has an answer.

    Until then connections are accepted and told so. A second signal ends it at once.

    Args:
        config: Of uvicorn; its application is of :func:`serving.app.make_app`.
        most_seconds: That draining may take.
    """

    def __init__(self, config: uvicorn.Config, most_seconds: float) -> None:
        super().__init__(config)
        self.service = config.app.state.service  # type: ignore[union-attr]
        self.most_seconds = most_seconds
        self.end: float | None = None
        self.told = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on SIGTERM and SIGINT."""
        former = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Begin to drain, or end at once."""
        if self.service.draining:
            self.should_exit = self.force_exit = True
        else:
            self.service.draining = True
            self.end = time.monotonic() + self.most_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say where it can be reached once it can."""
        await super().startup(sockets)
        for one in sockets or []:
            host, port = one.getsockname()[:2]
            logger.info("serving on http://%s:%d", f"[{host}]" if ":" in host else host, port)

    async def on_tick(self, counter: int) -> bool:
        """End once nobody waits any more, or all too long."""
        if self.end is not None and not self.told:
            logger.info("draining: %d requests are still to be answered", self.service.numbers.unanswered)
            self.told = True
        if self.end is not None and (not self.service.numbers.unanswered or time.monotonic() > self.end):
            self.should_exit = True
        return await super().on_tick(counter)


def serve(app: FastAPI, sockets: Sequence[socket.socket], limits: Limits) -> None:
    """Answer requests until a signal comes, then those that were let in.

    Args:
        app: Of :func:`serving.app.make_app`.
        sockets: Bound, see :func:`bind`.
        limits: Of which the time of a request bounds the end.
    """
    _allow_many_connections()
    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        ws="none",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=int(HEAD_SECONDS),
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    DrainingServer(config, 2 * limits.timeout + CLOSE_SECONDS).run([*sockets])


class Beside(NamedTuple):
    """A language model beside the captioners, see :meth:`captioning.model.CaptionModel.fuse`."""

    folder: Path
    weight: float = 0.0
    guidance: float = 0.0


def open_service(
    models: Sequence[Path | str],
    limits: Limits,
    token: str | None,
    device: str | None = None,
    hosts: Collection[str] = (),
    text_model: Path | None = None,
    beside: Beside | None = None,
    *,
    kind: str | None = None,
) -> FastAPI:
    """The application on model folders, which are opened here.

    Args:
        models: Folders; the first answers where none is named.
        limits: What a client may ask for; pictures of more pixels are refused in the whole process from now on.
        token: That clients have to give; None asks for none.
        device: As of :meth:`captioning.model.CaptionModel.open`.
        hosts: Names that it answers to; none are all.
        text_model: Folder of a language model, which completes texts without a picture; None completes none.
        beside: A language model that every model's captions are written with, unless a request names other weights.
        kind: Of the captioners, as of :meth:`captioning.model.CaptionModel.open`.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they are damaged, or two folders have the same name, or the language model does not fit a model.
    """
    limit_pixels(limits.max_pixels)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of what clients send
    opened = []
    for folder in models:
        logger.info("opening %s", folder)
        opened.append(CaptionModel.open(folder, device=device, kind=kind))
        if beside is not None:
            opened[-1].fuse(beside.folder, weight=beside.weight, guidance=beside.guidance)
    text_completer = None if text_model is None else open_text_completion(text_model, device)
    return make_app(opened, limits, token, text_completer, hosts)


def bind(host: str, port: int) -> socket.socket:
    """A socket at an address of this machine, to be given to :func:`serve`.

    Args:
        host: Name or address.
        port: 0 is any free one.

    Raises:
        ValueError: If it cannot be had.
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"--port {port}: must be from 0 to {2**16 - 1}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # asyncio switches Nagle's algorithm off for sockets whose protocol it is told. With it, the second part of an
        # answer on a kept connection waits 40 ms for the client to acknowledge the first.
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise ValueError(f"{host}, port {port}: cannot be had ({error}); give another --host or --port") from error
    if host not in LOOPBACK:
        logger.warning("%s: everybody who reaches this machine can ask; set a token, and put TLS before it", host)
    return bound


def read_token(file: Path | None) -> str | None:
    """The token of a file or of the environment; None asks clients for none.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If there is no token in it, or one that no header can carry.
    """
    if file is not None:
        where, token = str(file), file.read_text(encoding="utf-8").strip()
    else:
        where, token = TOKEN_VARIABLE, os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            return None
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{where}: must hold a token of visible ASCII signs, such as `openssl rand -hex 32` makes")
    return token


def log_accesses() -> None:
    """Send a line of JSON for each request to standard output, and to nowhere else."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    access_logger.handlers[:] = [handler]
    access_logger.setLevel(logging.INFO)
    access_logger.propagate = False


def _allow_many_connections() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    try:
        import resource
    except ImportError:  # on Windows there is no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
