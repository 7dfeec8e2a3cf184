"""What a client is told when it does not get what it asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STATUS: Mapping[str, int] = {
    "bad_request": 400,
    "unauthorized": 401,
    "foreign_page": 403,
    "not_found": 404,
    "unknown_model": 404,
    "wrong_method": 405,
    "too_slow": 408,
    "too_large": 413,
    "not_a_picture": 415,
    "wrong_content_type": 415,
    "invalid": 422,
    "unknown_style": 422,
    "needs_picture": 422,
    "picture_too_large": 422,
    "busy": 429,
    "client_gone": 499,
    "internal": 500,
    "draining": 503,
    "timeout": 504,
}
"""HTTP status of every code; 499 is for the log alone, nobody is there to read it."""


class Refusal(Exception):
    """Ends a request with an answer that says why.

    Args:
        code: One of :data:`STATUS`.
        message: What is wrong, what is allowed, what to do; nothing of this machine, and no trace.
        headers: Further headers of the answer.
    """

    def __init__(self, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, STATUS[code]
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The answer's JSON."""
        return {"error": {"code": self.code, "message": self.message}}


CLOSE = {"Connection": "close"}
"""Of an answer that comes before its request was read: what still arrives is not the next one."""


def busy(seconds: int) -> Refusal:
    """Too much waits already.

    Args:
        seconds: Until it is worth to try again.
    """
    message = f"too many requests are waiting; try again in {seconds} s"
    return Refusal("busy", message, {"Retry-After": str(seconds)})
