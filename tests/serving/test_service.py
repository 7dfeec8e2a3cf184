"""How long a request is waited for."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest
from starlette.requests import Request

from serving.errors import Refusal
from serving.service import Clock


def request_of(*messages):
    left = [*messages]

    async def receive():
        if not left:
            await asyncio.sleep(60)
        return left.pop(0)

    return Request({"type": "http", "headers": []}, receive)


def wait(future, *messages, seconds=30.0):
    async def run():
        return await Clock(request_of(*messages), seconds).wait(future)

    return asyncio.run(run())


def test_clock_hands_out_what_was_made_and_what_was_raised():
    made, failed = Future(), Future()
    made.set_result(3)
    failed.set_exception(KeyError("a"))
    assert wait(made) == 3
    with pytest.raises(KeyError, match="a"):
        wait(failed)


def test_clock_client_that_leaves_is_waited_for_no_longer():
    future = Future()
    with pytest.raises(Refusal) as refused:
        wait(future, {"type": "http.request", "body": b""}, {"type": "http.disconnect"})
    assert refused.value.code == "client_gone"
    assert future.cancelled()


def test_clock_that_has_run_out_gives_the_work_up():
    future = Future()
    with pytest.raises(Refusal) as refused:
        wait(future, seconds=0.01)
    assert (refused.value.code, refused.value.status) == ("timeout", 504)
    assert future.cancelled()
