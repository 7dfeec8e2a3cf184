"""Serves the pages of what is watched on this machine alone; it reads, and opens no path that a browser names."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from serving.watch.pages import HERE, Pages
from utils.errors import first_line

logger = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
"""Names that a browser may know this server by, at any port: a tunnel has one of its own. Another name is a page from
elsewhere that had its name lead here (DNS rebinding)."""
PATIENCE = 20.0
"""Seconds that a connection may say nothing."""
THUMBNAIL_PIXELS = 320
MAX_THUMBNAILS = 256
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Content(NamedTuple):
    """What a path leads to."""

    data: bytes
    kind: str
    """Its media type."""
    seconds: int = 0
    """For which a browser need not ask again."""


class WatchServer(ThreadingHTTPServer):
    """Answers a browser on this machine.

    Args:
        pages: What is served.
        port: 0 takes a free one.

    Raises:
        ValueError: If the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, pages: Pages, port: int) -> None:
        self.pages = pages
        self._thumbnails: OrderedDict[Path, bytes] = OrderedDict()
        self._lock = Lock()
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"port {port}: cannot be had ({first_line(error)}); give another, or 0 for a free one"
            ) from error

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{ADDRESS}:{self.server_address[1]}/"

    def content(self, path: str) -> Content | None:
        """What a path leads to; None if that is nothing."""
        routes: dict[tuple[str, int], Callable[..., Content | None]] = {
            ("", 0): self._page,
            ("run", 1): self._page,
            ("live", 1): self._live,
            ("part", 2): self._part,
            ("picture", 2): self._picture,
            ("static", 1): self._static,
        }
        first, *others = path.removeprefix("/").split("/")
        route = routes.get((first, len(others)))
        return None if route is None else route(*others)

    def _page(self, key: str = "") -> Content | None:
        html = self.pages.page(key)
        return None if html is None else Content(html.encode(), "text/html; charset=utf-8")

    def _live(self, key: str) -> Content | None:
        found = self.pages.live(key)
        return None if found is None else Content(found, "application/json")

    def _part(self, name: str, key: str) -> Content | None:
        html = (self.pages.parts(key) or {}).get(name)
        return None if html is None else Content(html.encode(), "text/html; charset=utf-8")

    def _static(self, name: str) -> Content | None:
        if name == "watch.css":
            return Content(self.pages.style_sheet().encode(), "text/css; charset=utf-8")
        if name == "watch.js":
            return Content((HERE / "static" / name).read_bytes(), "text/javascript; charset=utf-8")
        return None

    def _picture(self, key: str, name: str) -> Content | None:
        run = self.pages.run_of(key)
        samples = [] if run is None else run.look().samples
        image = next((sample.image for sample in samples if sample.image is not None and sample.key == name), None)
        try:
            return None if image is None else Content(self._thumbnail(image), "image/jpeg", seconds=3600)
        except (OSError, ValueError) as error:
            logger.debug("%s: is not shown (%s)", image, first_line(error))
            return None

    def _thumbnail(self, image: Path) -> bytes:
        from reports.thumbnails import small_jpeg  # loads torch: pages without pictures do not wait for it

        with self._lock:
            if image not in self._thumbnails:
                self._thumbnails[image] = small_jpeg(image, THUMBNAIL_PIXELS)
                if len(self._thumbnails) > MAX_THUMBNAILS:
                    self._thumbnails.popitem(last=False)
            return self._thumbnails[image]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "StyleCap", ""
    timeout = PATIENCE
    server: WatchServer

    def do_GET(self) -> None:  # noqa: N802
        """Answer."""
        if not self._is_host_known():
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST, f"This server answers to {' and '.join(HOSTS)} alone.")
            return
        try:
            content = self.server.content(self.path.partition("?")[0])
        except (ValueError, OSError) as error:  # a folder that was removed
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, first_line(error))
            return
        except Exception:
            logger.exception("%s", self.path)
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "Something went wrong; the console says what.")
            return
        if content is None:
            self._refuse(HTTPStatus.NOT_FOUND, "There is nothing here.")
        else:
            self._answer(content)

    do_HEAD = do_GET

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing of a browser that looks every two seconds."""
        logger.debug(format, *arguments)

    def _is_host_known(self) -> bool:
        name, _, port = self.headers.get("Host", "").partition(":")
        return name in HOSTS and (port == "" or port.isdigit())

    def _answer(self, content: Content) -> None:
        tag = f'"{hashlib.sha256(content.data).hexdigest()[:24]}"'
        known = self.headers.get("If-None-Match") == tag
        headers = {
            "ETag": tag,
            "Cache-Control": f"private, max-age={content.seconds}" if content.seconds else "no-cache",
        }
        self._send(HTTPStatus.NOT_MODIFIED if known else HTTPStatus.OK, content, headers)

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._send(status, Content(f"{message}\n".encode(), "text/plain; charset=utf-8"), {"Cache-Control": "no-store"})

    def _send(self, status: HTTPStatus, content: Content, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (HEADERS | headers).items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", content.kind)
            self.send_header("Content-Length", str(len(content.data)))
        self.end_headers()
        if self.command != "HEAD" and status != HTTPStatus.NOT_MODIFIED:
            self.wfile.write(content.data)
