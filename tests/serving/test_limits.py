"""Bodies that are too large, too many or too slow."""

from __future__ import annotations

import asyncio
import re

import pytest
from starlette.requests import Request

from serving import limits as module
from serving.errors import Refusal
from serving.limits import BODIES_HELD, Bodies, Limits

THOUSAND = Limits(max_upload_mb=0.001)  # bytes


def request_of(*messages, **headers):
    """A request whose body comes in these pieces; behind the last one nothing comes."""
    left = [*messages]

    async def receive():
        if not left:
            await asyncio.sleep(60)
        return left.pop(0)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw}, receive)


def piece(length, *, more=False):
    return {"type": "http.request", "body": bytes(length), "more_body": more}


def read(request, bodies=None):
    async def run():
        with (bodies or Bodies(THOUSAND)).hold() as reader:
            return await reader(request)

    return asyncio.run(run())


def code_of(call, *arguments):
    with pytest.raises(Refusal) as refused:
        call(*arguments)
    return refused.value.code


@pytest.mark.parametrize("name", [*vars(Limits())])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_limits_that_let_nobody_through_are_refused_by_their_option(name, value):
    option = {"max_length": "max-length-limit"}.get(name, name.replace("_", "-"))
    with pytest.raises(ValueError, match=re.escape(f"--{option} ")):
        Limits(**{name: value})


def test_bodies_whole_body_is_put_together_and_let_go():
    bodies = Bodies(THOUSAND)
    assert len(read(request_of(piece(400, more=True), piece(0, more=True), piece(600)), bodies)) == 1000
    assert bodies.held == 0


def test_bodies_too_large_by_what_comes():
    assert code_of(read, request_of(piece(400, more=True), piece(601))) == "too_large"


def test_bodies_too_large_by_what_is_said():
    assert code_of(read, request_of(piece(10), content_length="1001")) == "too_large"
    assert code_of(read, request_of(piece(10), content_length="9" * 5000)) == "too_large"


def test_bodies_client_that_sends_on_for_ever_is_told_in_the_end():
    assert code_of(read, request_of(*[piece(900, more=True)] * 20)) == "too_large"


def test_bodies_that_stop_in_the_middle_are_given_up(monkeypatch):
    monkeypatch.setattr(module, "SLOW_BODY", 0.02)
    assert code_of(read, request_of(piece(10, more=True))) == "too_slow"


def test_bodies_that_come_byte_by_byte_are_given_up():
    async def receive():
        await asyncio.sleep(0.01)
        return piece(1, more=True)

    slow = Request({"type": "http", "headers": []}, receive)
    assert code_of(read, slow, Bodies(Limits(timeout=0.05))) == "too_slow"


def test_bodies_of_a_client_that_leaves():
    assert code_of(read, request_of(piece(10, more=True), {"type": "http.disconnect"})) == "client_gone"


def test_bodies_held_together_are_bounded():
    bodies = Bodies(THOUSAND)

    async def run():
        with pytest.raises(Refusal) as refused:
            await hold(BODIES_HELD + 1)
        assert (refused.value.code, bodies.held) == ("busy", 0)
        await hold(BODIES_HELD)

    async def hold(count):
        if count:
            with bodies.hold() as reader:
                await reader(request_of(piece(1000)))
                await hold(count - 1)

    asyncio.run(run())
