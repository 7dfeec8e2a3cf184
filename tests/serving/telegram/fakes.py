"""A Bot API and a captioning service on this machine, which write down what they are asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

TOKEN = "123456:SECRET-of-the-bot-000000000000000000"
PICTURE = b"\xff\xd8\xff\xe0 a picture"
ME = {"id": 7, "is_bot": True, "first_name": "Cap", "username": "cap_bot"}


class BotApi:
    """What the bot needs of api.telegram.org."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {"f1": PICTURE}
        self.refused: dict[str, list[tuple[int, str]]] = {}
        """By method the answers that its next calls get instead."""
        self.numbers: list[int] = []
        """Of the messages that the bot has sent."""
        self._updates: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._numbers = iter(range(1000, 100_000))
        self._news = asyncio.Condition()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/bot{token}/{method}", self._method)
        app.router.add_get("/file/bot{token}/{path:.*}", self._file)
        return app

    def said(self, method: str = "sendMessage") -> list[dict[str, Any]]:
        return [sent for name, sent in self.calls if name == method]

    async def wait(self, count: int, method: str = "sendMessage", seconds: float = 60) -> list[dict[str, Any]]:
        """The first ``count`` calls of a method, once there are so many."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.said(method)) >= count)
        return self.said(method)

    def send(self, *, chat: int = 1, kind: str = "private", **message: Any) -> dict[str, Any]:
        """Somebody writes; returns the message."""
        whole = {"message_id": next(self._numbers), "date": 1, "chat": {"id": chat, "type": kind}}
        whole |= {"from": {"id": chat, "is_bot": False, "first_name": "P"}} | message
        self._updates.put_nowait({"update_id": next(self._numbers), "message": whole})
        return whole

    def photo(self, **message: Any) -> dict[str, Any]:
        sizes = [{"file_id": f"f{n}", "file_unique_id": f"u{n}", "width": 9 - n, "height": 9 - n} for n in (1, 2)]
        return self.send(photo=sizes, **message)

    def press(self, data: str, message: dict[str, Any]) -> None:
        """Somebody presses a button of a message of the bot."""
        query = {"id": "q", "chat_instance": "c", "from": {"id": 1, "is_bot": False, "first_name": "P"}}
        query |= {"data": data, "message": message}
        self._updates.put_nowait({"update_id": next(self._numbers), "callback_query": query})

    async def _method(self, request: web.Request) -> web.Response:
        method, sent = request.match_info["method"], dict(await request.post())
        if request.match_info["token"] != TOKEN:
            return _answer(401, "Unauthorized")
        if self.refused.get(method):
            status, why = self.refused[method].pop(0)
            return _answer(status, why)
        if method != "getUpdates":
            parsed = {name: _parsed(value) for name, value in sent.items()}
            async with self._news:
                self.calls.append((method, parsed))
                self._news.notify_all()
        handler: Callable[[dict[str, Any]], Any] = getattr(self, f"_{method}", lambda _: True)
        result = handler(sent)
        return _answer(200, result=await result if asyncio.iscoroutine(result) else result)

    async def _getUpdates(self, sent: dict[str, Any]) -> list[Any]:  # noqa: N802
        try:
            return [await asyncio.wait_for(self._updates.get(), 0.5)]
        except TimeoutError:
            return []

    def _getMe(self, sent: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return ME

    def _getFile(self, sent: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"file_id": sent["file_id"], "file_unique_id": "u", "file_path": f"photos/{sent['file_id']}"}

    def _sendMessage(self, sent: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        chat = {"id": int(sent["chat_id"]), "type": "private"}
        self.numbers.append(next(self._numbers))
        return {"message_id": self.numbers[-1], "date": 1, "chat": chat, "from": ME, "text": sent["text"]}

    async def _file(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["path"].removeprefix("photos/")])


class CaptionService:
    """What the bot needs of the captioning service."""

    def __init__(self, styles: list[str]) -> None:
        self.styles = styles
        self.asked: list[tuple[bytes, list[str], str | None]] = []
        self.refusals: list[tuple[int, str, str]] = []
        """Status, code and message that the next requests get instead."""
        self.slow: asyncio.Event | None = None
        """Pictures that begin with "slow" wait for it."""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/styles", self._styles)
        app.router.add_post("/v1/captions", self._captions)
        return app

    async def _styles(self, request: web.Request) -> web.Response:
        rows = [{"name": name, "aliases": []} for name in self.styles]
        return web.json_response({"model": "demo", "neutral": self.styles[0], "styles": rows})

    async def _captions(self, request: web.Request) -> web.Response:
        form = await request.post()
        image = form["image"]
        assert isinstance(image, web.FileField)
        picture, styles = image.file.read(), [str(style) for style in form.getall("style", [])]
        self.asked.append((picture, styles, request.headers.get("Authorization")))
        if self.slow is not None and picture.startswith(b"slow"):
            await self.slow.wait()
        if self.refusals:
            status, code, message = self.refusals.pop(0)
            headers = {"Retry-After": "0"} if status == 429 else {}
            return web.json_response({"error": {"code": code, "message": message}}, status=status, headers=headers)
        captions = {one: [{"text": f"<a> {one} & cat", "log_prob": -1.0, "cut": False}] for one in styles}
        rows = [{"style": one, "captions": written} for one, written in captions.items()]
        return web.json_response({"model": "demo", "captions": rows, "seconds": 0.1})


def _answer(status: int, description: str = "", result: Any = None) -> web.Response:
    if status == 200:
        return web.json_response({"ok": True, "result": result})
    return web.json_response({"ok": False, "error_code": status, "description": description}, status=status)


def _parsed(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value
