"""What is checked before any work is done: who asks, how much is sent and how fast."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import NoReturn

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serving.errors import CLOSE, Refusal, busy

GUARDED = ("/v1/", "/autocomplete", "/metrics")
"""Where the token is asked for."""
FOREIGN_SITES = (b"cross-site", b"same-site")
PORT = re.compile(r":\d*$")
ALWAYS = ("/healthz", "/readyz", "/metrics")
"""What is answered while the service drains."""
BODIES_HELD = 16
"""Bodies of the largest size that are held in memory at once; beyond them clients are told to come again."""
SLOW_BODY = 10.0
"""Seconds without a byte of a body after which it is given up."""
LEAVE_SECONDS, LEAVE_BYTES = 2.0, 4
"""What is sent beyond the limit is thrown away so long, and up to so many times the limit, since a client that is cut
off while it sends may never read the answer."""
MOST_CAPTIONS = 128
"""Captions of one request: styles times num."""


@dataclass(frozen=True)
class Limits:
    """What one client may ask for.

    Attributes:
        max_upload_mb: Of a request's body as it is sent, 10^6 bytes; base64 takes a third more than the picture's file.
        max_pixels: Width times height of a picture, as its header says.
        max_styles: Styles of one request.
        max_length: Most tokens of a caption that a request may ask for.
        max_batch: Pictures with a style that are worked on at once.
        max_wait_ms: Milliseconds that one waits for others to come.
        queue: Pictures with a style that wait; more are told to come again.
        timeout: Seconds that a request may take once it has been read, and as many that reading it may take.
    """

    max_upload_mb: float = 20
    max_pixels: int = 50_000_000
    max_styles: int = 32
    max_length: int = 64
    max_batch: int = 16
    max_wait_ms: float = 5
    queue: int = 64
    timeout: float = 30

    def __post_init__(self) -> None:
        """Refuse what lets nobody through."""
        for name, value in vars(self).items():
            least = 0 if name in ("max_wait_ms", "queue") else 1 if isinstance(value, int) else 1e-3
            if not least <= value < float("inf"):
                option = "--" + {"max_length": "max_length_limit"}.get(name, name).replace("_", "-")
                raise ValueError(f"{option} {value:g}: must be at least {least:g}")

    @property
    def max_bytes(self) -> int:
        """Of a body."""
        return int(self.max_upload_mb * 1e6)


class Bodies:
    """The bytes of bodies that are in memory.

    Args:
        limits: Of which ``max_upload_mb`` and ``timeout`` matter here.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits, self.held = limits, 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[Request], Awaitable[bytes]]]:
        """A reader of bodies; what it reads counts as held until the block ends.

        The reader raises :class:`serving.errors.Refusal` if a body is too large, or comes too slowly, or too much is
        held already.
        """
        counted = 0

        async def read(request: Request) -> bytes:
            nonlocal counted
            body = bytearray()
            async with _within(self.limits.timeout):
                async for chunk in self._chunks(request):
                    self._count(len(chunk))
                    counted += len(chunk)
                    body += chunk
            return bytes(body)

        try:
            yield read
        finally:
            self.held -= counted

    def _count(self, more: int) -> None:
        if self.held + more > BODIES_HELD * self.limits.max_bytes:
            refusal = busy(1)
            refusal.headers |= CLOSE
            raise refusal
        self.held += more

    async def _chunks(self, request: Request) -> AsyncIterator[bytes]:
        """The pieces of a body as they come, up to the limit."""
        said, length, more = request.headers.get("content-length", ""), 0, True
        if said.isdigit() and int(said[:20]) > self.limits.max_bytes:
            await self._throw_away(request)
        while more:
            async with _within(SLOW_BODY):
                message = await request.receive()
            if message["type"] == "http.disconnect":
                raise Refusal("client_gone", "the client left before it had sent its request")
            chunk, more = message.get("body", b""), message.get("more_body", False)
            length += len(chunk)
            if length > self.limits.max_bytes:
                await self._throw_away(request, more=more)
            yield chunk

    async def _throw_away(self, request: Request, *, more: bool = True) -> NoReturn:
        thrown = 0
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                while more and thrown < LEAVE_BYTES * self.limits.max_bytes:
                    message = await request.receive()
                    thrown += len(message.get("body", b""))
                    more = message.get("more_body", False)
        except TimeoutError:
            pass  # it is told all the same
        text = f"the request has more than {self.limits.max_upload_mb:g} MB; send a smaller picture"
        raise Refusal("too_large", text, CLOSE)


@asynccontextmanager
async def _within(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise Refusal("too_slow", f"the request did not come within {seconds:g} s; send it again", CLOSE) from None


class Gate:
    """Refuses who has not the token, pages of elsewhere in a browser of this machine, and everybody once it drains.

    Without a token a service that listens on this machine alone is still reached by every web page that is looked at
    here: a form of another site can be sent to it, and a page whose name leads here (DNS rebinding) reads its answers.

    Args:
        app: What is behind it.
        token: None lets everybody in.
        is_draining: Whether the service is about to end.
        hosts: Names that a browser may know the service by, at any port; none are all.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, is_draining: Callable[[], bool], hosts: Collection[str] = ()
    ) -> None:
        self.app, self.is_draining, self.hosts = app, is_draining, hosts
        self.expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or raise a :class:`Refusal`."""
        if scope["type"] == "http":
            path = scope["path"]
            if self.is_draining() and path not in ALWAYS:
                raise Refusal("draining", "the service is about to end", {"Retry-After": "5"} | CLOSE)
            self._refuse_foreign(scope)
            if self.expected is not None and path.startswith(GUARDED):
                given = _header(scope, b"authorization")
                if not hmac.compare_digest(given, self.expected):
                    text = "this needs the service's token, as the header 'Authorization: Bearer TOKEN'"
                    raise Refusal("unauthorized", text, {"WWW-Authenticate": "Bearer"} | CLOSE)
        await self.app(scope, receive, send)

    def _refuse_foreign(self, scope: Scope) -> None:
        site = _header(scope, b"sec-fetch-site")  # of browsers alone, and no page can set it
        if site in FOREIGN_SITES and scope["method"] not in ("GET", "HEAD"):
            raise Refusal("foreign_page", "only the service's own page may send requests from a browser", CLOSE)
        host = PORT.sub("", _header(scope, b"host").decode("latin-1").lower())
        if self.hosts and host and host.strip("[]") not in self.hosts:
            text = f"without a token this service answers to {', '.join(self.hosts)} alone; ask by that name"
            raise Refusal("foreign_page", text, CLOSE)


def _header(scope: Scope, wanted: bytes) -> bytes:
    """The first of that name; empty if there is none."""
    return next((value for name, value in scope["headers"] if name == wanted), b"")
