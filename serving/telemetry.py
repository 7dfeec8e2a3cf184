"""What is told of requests: numbers for Prometheus, a line of JSON for each, never what is in them."""

from __future__ import annotations

import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Collection, MutableMapping
from datetime import UTC, datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import Refusal

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("serving.access")
"""Its messages are lines of JSON; where they go is :func:`serving.server.serve`'s affair."""

FOLDER_ROUTE = "/static"
OTHER_ROUTE = "other"
"""Paths that lead nowhere have one name together: clients must not be able to make up numbers to be kept."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
USABLE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
ROWS = (1, 2, 4, 8, 16, 32, 64)
HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'",
}
"""Of every answer; the page loads nothing from elsewhere and runs nothing that stands in it."""


class Numbers:
    """What Prometheus asks for, in a registry of its own.

    Attributes:
        registry: All of them.
        unanswered: Requests.
    """

    def __init__(self) -> None:
        self.unanswered = 0
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which says when it began
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "stylecap_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "stylecap_request_seconds", "Time of a request.", ["route"], buckets=SECONDS, registry=registry
        )
        Gauge("stylecap_requests_unanswered", "Requests not yet answered.", registry=registry).set_function(
            lambda: self.unanswered
        )
        self.batch_rows = Histogram(
            "stylecap_batch_rows", "Pictures with a style in a batch.", ["model"], buckets=ROWS, registry=registry
        )
        self.batch_seconds = Histogram(
            "stylecap_batch_seconds", "Time of a batch.", ["model"], buckets=SECONDS, registry=registry
        )
        self.queue = Gauge("stylecap_queue_depth", "Pictures with a style that wait.", ["model"], registry=registry)
        self.captions = Counter("stylecap_captions", "Captions written.", ["model"], registry=registry)
        self.models = Info("stylecap_model", "A model of the service.", ["name"], registry=registry)

    def add_model(self, name: str, facts: dict[str, str], waiting: Callable[[], int]) -> None:
        """Tell of a model, and of the rows that wait for it."""
        self.models.labels(name=name).info(facts)
        self.queue.labels(model=name).set_function(waiting)

    def add_batch(self, model: str, rows: int, seconds: float) -> None:
        """Tell of a batch."""
        self.batch_rows.labels(model=model).observe(rows)
        self.batch_seconds.labels(model=model).observe(seconds)


class Watched:
    """Answers what went wrong, counts and logs every request, and puts our headers on every answer.

    Args:
        app: What is behind it; may raise :class:`serving.errors.Refusal`.
        numbers: Where requests are counted.
        paths: That lead somewhere, by which requests are counted and logged.
    """

    def __init__(self, app: ASGIApp, numbers: Numbers, paths: Collection[str]) -> None:
        self.app, self.numbers, self.paths = app, numbers, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Watch a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        seen = Seen(scope, self._route(scope["path"]))
        self.numbers.unanswered += 1
        try:
            await self._answer(seen, scope, receive, send)
        finally:
            self.numbers.unanswered -= 1
            self._tell(seen, scope)

    def _route(self, path: str) -> str:
        if path in self.paths:
            return path
        return FOLDER_ROUTE if path.startswith(f"{FOLDER_ROUTE}/") else OTHER_ROUTE

    async def _answer(self, seen: Seen, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            seen.sent(message)
            await send(message)

        async def receiving() -> Message:
            message = await receive()
            seen.bytes_in += len(message.get("body", b""))
            return message

        try:
            await self.app(scope, receiving, sending)
            return
        except Refusal as refusal:
            answer = refusal
        except Exception:
            logger.exception("request %s failed", seen.id)
            answer = Refusal("internal", f"something went wrong that is not your fault; the log has it as {seen.id}")
        if seen.status is None:
            await error_response(answer)(scope, receive, sending)

    def _tell(self, seen: Seen, scope: Scope) -> None:
        seconds = time.monotonic() - seen.start
        method = scope["method"] if scope["method"] in METHODS else OTHER_ROUTE
        status = seen.status or STATUS_OF_NO_ANSWER
        self.numbers.requests.labels(method=method, route=seen.route, status=status).inc()
        self.numbers.seconds.labels(route=seen.route).observe(seconds)
        access_logger.info("%s", json.dumps(seen.line(method, status, seconds), ensure_ascii=False))


STATUS_OF_NO_ANSWER = 499


class Seen:
    """What is known of a request while it is answered.

    Args:
        scope: The request's.
        route: One of the few words that its path is counted by.

    Attributes:
        id: The client's own, if it is fit to be logged.
        bytes_in: Of the body so far.
        bytes_out: Of the answer so far.
        status: Of the answer; None before it begins.
    """

    def __init__(self, scope: Scope, route: str) -> None:
        self.scope, self.route, self.start = scope, route, time.monotonic()
        given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
        self.id = given.decode("latin-1")
        if not USABLE_ID.fullmatch(self.id):
            self.id = secrets.token_hex(8)
        self.bytes_in = self.bytes_out = 0
        self.status: int | None = None
        scope.setdefault("state", {})["log"] = {}

    def sent(self, message: MutableMapping[str, Any]) -> None:
        """Look at a part of the answer; put our headers on its beginning."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = {**HEADERS, "x-request-id": self.id}
            message["headers"] = [*message["headers"], *((key.encode(), value.encode()) for key, value in own.items())]
        elif message["type"] == "http.response.body":
            self.bytes_out += len(message.get("body", b""))

    def line(self, method: str, status: int, seconds: float) -> dict[str, Any]:
        """What the log says of the request."""
        return {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": self.id,
            "method": method,
            "path": self.route,
            "status": status,
            "ms": round(seconds * 1000, 1),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            **self.scope["state"]["log"],
        }


def error_response(refusal: Refusal) -> JSONResponse:
    """The answer that tells it."""
    return JSONResponse(refusal.body(), refusal.status, refusal.headers)
