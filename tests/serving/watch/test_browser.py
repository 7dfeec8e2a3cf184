"""The page of a watched run in a real browser: it keeps up with the run, and everybody can use it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from runs.lock import locked
from runs.metrics_log import append_metrics
from serving.watch.pages import Pages
from serving.watch.server import WatchServer
from serving.watch.sweep import Watched
from utils.io import append_jsonl

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)")
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH (Debian's package chromium)")
    with playwright.sync_playwright() as program:
        browser = program.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def watched(make_run, tmp_path) -> Iterator[tuple[Any, str]]:
    """A run that trains, and the address of its page."""
    run = make_run(step=8, trained=False, evaluated=False)
    append_metrics(run.metrics, 9, 2.25, {"train/loss": 1.0, "train/reward": 0.5, "train/reward_std": 0.1})
    run.log.write_text("2026-01-02 03:04:06,678 rank 0 WARNING trainers.numbers: a spike of the loss\n")
    image = tmp_path / "a.png"
    Image.new("RGB", (200, 100), "navy").save(image)
    for step in (1, 2, 4, 6, 8):
        row = {"global_step": step, "example_id": "a.png#pirate", "style": "pirate", "image": str(image)}
        append_jsonl(run.samples, row | {"caption": f"arr {step}", "references": ["ahoy"]})
    with locked(run), WatchServer(Pages(Watched([run.root, make_run("other").root])), 0) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield run, server.url
        server.shutdown()


def violations(page: Any) -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    found = axe.Axe().run(page).response["violations"]
    return [f"{one['id']}: {[node['html'][:120] for node in one['nodes']]}" for one in found]


@pytest.mark.parametrize(("scheme", "size"), [("light", DESK), ("dark", DESK), ("light", PHONE)])
def test_page_has_no_faults_that_axe_knows_and_fits_its_window(browser, watched, tmp_path, scheme, size):
    page = browser.new_page(viewport=size, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.goto(watched[1])
    assert violations(page) == []
    page.get_by_role("link", name="run", exact=False).first.click()
    page.wait_for_selector("text=Captions of the validations")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    assert said == []
    page.screenshot(path=tmp_path / f"watch_{scheme}_{size['width']}.png", full_page=True)
    page.close()


def test_page_follows_the_run_and_keeps_what_its_reader_has_unfolded(browser, watched):
    run, url = watched
    page = browser.new_page(viewport=DESK)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(url)
    page.get_by_role("link", name=str(run.root)).click()
    page.get_by_text("2 earlier").click()
    assert page.get_by_text("arr 1").is_visible()
    append_metrics(run.metrics, 10, 2.5, {"train/loss": 0.5})
    row = {"global_step": 10, "example_id": "a.png#pirate", "style": "pirate", "caption": "arr 10 & <more>"}
    append_jsonl(run.samples, row | {"references": ["ahoy"]})
    page.wait_for_selector("text=arr 10 & <more>", timeout=20_000)
    assert page.get_by_text("10 of 12").count() >= 1
    assert page.get_by_text("arr 1", exact=False).first.is_visible()
    assert page.locator("details[open]").count() == 1
    assert "10" in page.locator("[data-part=standing]").inner_text()
    assert not [address for address in requests if not address.startswith((url, "data:"))]
    page.close()


@pytest.mark.slow
def test_page_asks_nothing_while_it_is_hidden_and_says_when_the_server_is_gone(browser, watched):
    page = browser.new_page(viewport=DESK)
    with page.expect_response("**/live/**"):
        page.goto(watched[1])
    page.evaluate(
        "Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true }); window.away = true"
    )
    page.wait_for_timeout(2500)  # one that was under way
    asked = "performance.getEntriesByType('resource').filter((one) => one.name.includes('/live/')).length"
    before = page.evaluate(asked)
    page.wait_for_timeout(4500)
    assert page.evaluate(asked) == before
    page.route("**/live/**", lambda route: route.abort())
    page.evaluate("window.away = false; document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector("#connection:not([hidden])")
    assert "The server does not answer" in page.inner_text("#connection")
    page.unroute("**/live/**")
    page.wait_for_selector("#connection", state="hidden", timeout=10_000)
    page.close()
