"""What the page says and does when the service refuses, is busy, asks for a token or is gone."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.serving.page.conftest import serving
from tests.serving.page.scripted_model import ScriptedModel, picture_of

CAPTIONS = "**/v1/captions"


def refuses(status: int, code: str, message: str = "no", **headers: str) -> Callable[[Any], None]:
    """A handler of requests that answers with an error of the service."""
    body = json.dumps({"error": {"code": code, "message": message}})
    return lambda route: route.fulfill(status=status, headers=headers | {"content-type": "application/json"}, body=body)


def picture_in(request: Any) -> bytes:
    """The file that a form sends."""
    return re.search(rb'name="image".*?\r\n\r\n(.*?)\r\n------', request.post_data_buffer, re.DOTALL)[1]


@pytest.fixture
def start(open_page, add_pictures):
    """A page with a picture, whose request a handler answers; gives the page and the card."""

    def press(handler: Callable[[Any], None] | None = None) -> tuple[Any, Any]:
        page = open_page()
        if handler is not None:
            page.route(CAPTIONS, handler)
        add_pictures(page, red="red.png")
        page.click("#write")
        return page, page.locator("article")

    return press


FAULTS = [
    (refuses(415, "not_a_picture", "the file is cut"), "The file is cut. Save it as JPEG or PNG, and drop it again."),
    (refuses(422, "invalid", "num: at most 16"), "Num: at most 16."),
    (refuses(503, "draining", "the service is about to end"), "Try again in a moment."),
    (refuses(504, "timeout", "not done within 30 s"), "Ask for fewer styles or captions at once"),
    (refuses(500, "internal", "an error"), "the service's log says more"),
    (lambda route: route.fulfill(status=502, body="<h1>Bad gateway</h1>"), "See that finetune.py serve still runs"),
    (lambda route: route.fulfill(status=200, body="<h1>Log in</h1>"), "is not the service"),
    (lambda route: route.abort(), "The service does not answer. See that finetune.py serve still runs"),
]


def test_a_fault_is_told_at_its_picture_with_what_to_do_and_can_be_tried_again(start):
    handlers = iter([handler for handler, _ in FAULTS])
    page, card = start(lambda route: next(handlers)(route))
    for _, said in FAULTS:
        card.locator(".notice", has_text=said).wait_for()
        if said == FAULTS[-1][1]:
            page.unroute(CAPTIONS)
        card.locator(".notice button").click()
    page.wait_for_selector("article[data-state=done]")
    assert not card.locator(".notice").is_visible()


def test_a_picture_that_is_no_picture_is_named_by_the_real_service(open_page):
    page = open_page()
    page.set_input_files("#files", [{"name": "fake.png", "mimeType": "image/png", "buffer": b"no picture"}])
    page.click("#write")
    page.wait_for_selector("article[data-state=failed]")
    assert "The picture cannot be read" in page.inner_text("article .notice")
    assert page.is_visible("text=This browser cannot show the picture.")


@pytest.mark.parametrize("code", ["too_large", "picture_too_large"])
def test_a_picture_above_the_limit_is_sent_again_smaller(open_page, code):
    page = open_page()
    sizes = []

    def once(route: Any) -> None:
        with Image.open(io.BytesIO(picture_in(route.request))) as image:
            sizes.append(image.size)
        if len(sizes) == 1:
            refuses(413 if code == "too_large" else 422, code)(route)
        else:
            route.continue_()

    page.route(CAPTIONS, once)
    large = picture_of("red", (2100, 42), "BMP")
    page.set_input_files("#files", [{"name": "large.bmp", "mimeType": "image/bmp", "buffer": large}])
    page.click("#write")
    page.wait_for_selector("article[data-state=done]")
    assert sizes == [(2100, 42), (2048, 41)]
    assert page.locator(".caption").first.inner_text() == "neutral words of first on red"


def test_a_busy_service_is_asked_again_after_its_time_and_then_answers(start):
    tried = []

    def first_busy(route: Any) -> None:
        tried.append(1)
        refuses(429, "busy", **{"retry-after": "1"})(route) if len(tried) == 1 else route.continue_()

    page, card = start(first_busy)
    page.wait_for_selector(".status:has-text('The service is busy: try 2 in 1 s')")
    page.wait_for_selector("article[data-state=done]")
    assert len(tried) == 2


def test_a_service_that_stays_busy_is_asked_four_times_and_no_more(start):
    tried = []

    def busy(route: Any) -> None:
        tried.append(1)
        refuses(429, "busy", "too many requests", **{"retry-after": "0"})(route)

    page, card = start(busy)
    page.wait_for_selector("article[data-state=failed]")
    assert len(tried) == 4
    assert "Wait a moment, then try again." in card.locator(".notice").inner_text()


def test_a_request_in_flight_is_cancelled(start):
    page, card = start(lambda route: None)
    page.wait_for_selector("article[data-state=working]")
    with page.expect_event("requestfailed") as failed:
        card.locator("[aria-label='Cancel red.png']").click()
    assert "ERR_ABORTED" in failed.value.failure
    assert card.locator(".status").inner_text() == "Cancelled"
    assert page.inner_text("#plan") == "1 picture in 4 styles"


def test_stop_ends_what_runs_and_what_waits(open_page, add_pictures):
    page = open_page()
    page.route(CAPTIONS, lambda route: None)
    add_pictures(page, red="a.png", green="b.png", blue="c.png")
    page.click("#write")
    states = page.locator("article[data-state=working], article[data-state=waiting]")
    page.wait_for_selector("article:nth-child(3)[data-state=waiting]")
    assert states.count() == 3
    page.click("#stop")
    assert page.locator("article[data-state=cancelled]").count() == 3
    assert not page.is_visible("#running")


def test_a_fault_of_completion_is_told_under_the_field(open_page, write):
    page = open_page()
    write(page)
    page.route("**/autocomplete", refuses(503, "draining", "the service is about to end"))
    page.locator(".edit").first.click()
    page.keyboard.type(" more")
    page.wait_for_selector(".editor .foot:has-text('No completions: The service is about to end.')")
    page.keyboard.press("Enter")
    assert page.locator(".caption").first.inner_text().startswith("neutral words of first on red more")


def test_a_service_that_is_not_there_is_told_and_looked_for_again(open_page):
    page = open_page(ready=False)
    page.route("**/v1/models", lambda route: route.abort())
    page.reload()
    page.wait_for_selector("#service-fault:has-text('The service does not answer.')")
    page.unroute("**/v1/models")
    page.click("#service-fault button")
    page.wait_for_selector("#chips li")
    assert not page.is_visible("#service-fault")


def test_a_token_is_asked_for_checked_and_kept_for_the_tab_alone(open_page, write):
    with serving(ScriptedModel(), token="open sesame".replace(" ", "-")) as url:
        page = open_page(url, ready=False)
        page.wait_for_selector("#token-panel")
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token-fault:text-is('That token was refused.')")
        page.fill("#token", "open-sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#chips li")
        write(page)
        page.reload()
        page.wait_for_selector("#chips li")
        assert not page.is_visible("#token-panel")
        assert "sesame" not in json.dumps(page.evaluate("({...localStorage})"))


def test_a_token_that_is_asked_for_meanwhile_continues_what_waited(start):
    page, card = start(refuses(401, "unauthorized", "this needs the service's token"))
    page.wait_for_selector("article[data-state=failed]")
    page.unroute(CAPTIONS)
    page.fill("#token", "anything")
    page.keyboard.press("Enter")
    page.wait_for_selector("article[data-state=done]")
    assert not page.is_visible("#token-panel")
