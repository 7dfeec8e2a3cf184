"""The captioning service as the bot asks it, over HTTP; faults come as words for people."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp

REQUEST_SECONDS = 60.0
"""For an answer; the service gives up by itself before."""
TRIES = 4
"""Of a request to a service that is busy."""
LONGEST_WAIT = 5.0
"""Seconds between two tries, whatever the service asks for."""
STYLES_KEPT = 60.0
"""Seconds for which the list of styles is not asked for again."""
AT_ONCE = 8
"""Requests that are under way to the service; more wait here, not in its queue."""
WORDS = {
    "unauthorized": "The captioning service does not let me in. Its owner has to look at my token.",
    "too_large": "This picture is too large for the captioning service.",
    "picture_too_large": "This picture has too many pixels for the captioning service.",
    "not_a_picture": "I cannot read this picture. JPEG, PNG and WebP always work.",
}
"""What is said of codes whose own message is about HTTP."""


class ServiceFault(Exception):
    """The service gave no captions.

    Args:
        message: For people.
        may_pass: Whether the same request may go well later.
        code: As the service names it.
    """

    def __init__(self, message: str, *, may_pass: bool, code: str = "") -> None:
        super().__init__(message)
        self.may_pass, self.code = may_pass, code


@dataclass(frozen=True)
class Styles:
    """What the model has learnt."""

    names: tuple[str, ...]
    neutral: str

    @property
    def mark(self) -> str:
        """Four characters that change with the list, so that an old keyboard is known as such."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:4]


class Service:
    """A client of the REST service; many requests at once.

    Args:
        url: Where it is.
        token: That it wants to see; None for none.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._session: aiohttp.ClientSession | None = None
        self._styles: tuple[float, Styles] | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """Let the connections go."""
        if self._session is not None:
            await self._session.close()

    async def styles(self) -> Styles:
        """The styles of the model.

        Raises:
            ServiceFault: If they cannot be had.
        """
        if self._styles is None or time.monotonic() - self._styles[0] > STYLES_KEPT:
            found = await self._ask("GET", "/v1/styles")
            names = tuple(str(style["name"]) for style in found["styles"])
            self._styles = time.monotonic(), Styles(names, str(found["neutral"]))
        return self._styles[1]

    async def caption(self, picture: bytes, styles: Sequence[str]) -> list[tuple[str, str]]:
        """Style and caption, a pair for each style; of none the neutral one.

        Args:
            picture: An encoded picture.
            styles: As people name them.

        Raises:
            ServiceFault: If there are none.
        """
        found = await self._ask("POST", "/v1/captions", picture=picture, styles=styles)
        return [(str(row["style"]), str(row["captions"][0]["text"])) for row in found["captions"]]

    async def _ask(self, method: str, path: str, **sent: Any) -> Any:
        for left in reversed(range(TRIES)):
            async with self._slots:
                status, answer, wait = await self._try(method, path, **sent)
            if status == 200:
                return answer
            if status != 429 or not left:
                raise _fault(status, answer)
            await asyncio.sleep(min(wait, LONGEST_WAIT))
        raise AssertionError("the last try has raised")

    async def _try(self, method: str, path: str, **sent: Any) -> tuple[int, Any, float]:
        """Status, JSON, and the seconds after which to try again."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
            self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout)
        data = _form(**sent) if sent else None
        try:
            async with self._session.request(method, self.url + path, data=data, allow_redirects=False) as answer:
                try:
                    found = await answer.json(content_type=None)
                except ValueError:
                    found = None
                asked = answer.headers.get("Retry-After", "")
                return answer.status, found, float(asked) if asked.isdigit() else 1.0
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ServiceFault(
                "The captioning service cannot be reached just now. Please try again in a moment.", may_pass=True
            ) from error


def _form(*, picture: bytes, styles: Sequence[str]) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("image", picture, filename="picture", content_type="application/octet-stream")
    for style in styles:
        form.add_field("style", style)
    return form


def _fault(status: int, answer: Any) -> ServiceFault:
    error = answer.get("error") if isinstance(answer, dict) else None
    code, message = (str(error.get(name, "")) for name in ("code", "message")) if isinstance(error, dict) else ("", "")
    if status == 429:
        return ServiceFault("Many people are asking just now. Please try again in a moment.", may_pass=True, code=code)
    if status >= 500 or not code:
        said = "The captioning service has no answer just now. Please try again in a moment."
        return ServiceFault(said, may_pass=True, code=code)
    return ServiceFault(WORDS.get(code, message), may_pass=False, code=code)
