"""The real service with scripted models on loopback, and the page in a real browser without a window."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.serving.page.scripted_model import ScriptedModel, picture_of

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT = 20_000
"""Milliseconds for what should come at once: tests share their cores."""
WIDTHS = {"desk": (1280, 860), "phone": (360, 740)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; the test is skipped where there is none, or nothing to drive it.

    It goes with its file: while it is driven, its event loop runs in the thread, and other tests cannot start theirs.
    """
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements-dev.txt)")
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser on PATH ({', '.join(BROWSERS)}); scripts/browser.sh says how to get one")
    with driver.sync_playwright() as playwright:
        # Its sandbox refuses to work for root, as whom tests run in containers; it sees nothing but our page.
        started = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@contextmanager
def serving(*models: ScriptedModel, token: str | None = None) -> Iterator[str]:
    """The address of a service with these models, in this process."""
    uvicorn = pytest.importorskip("uvicorn", reason="uvicorn is not installed (requirements-serve.txt)")
    from serving.app import make_app
    from serving.limits import Limits

    app = make_app(models, Limits(max_wait_ms=0), token)  # type: ignore[arg-type]
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    end = time.monotonic() + 20
    while not server.started and time.monotonic() < end:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)
    app.state.service.close()


@pytest.fixture(scope="module")
def model() -> ScriptedModel:
    """The model that is asked unless another is chosen."""
    return ScriptedModel(aliases={"buccaneer": "pirate"})


@pytest.fixture(scope="module")
def address(model: ScriptedModel) -> Iterator[str]:
    """Of a service with one model of four styles."""
    with serving(model) as url:
        yield url


@pytest.fixture(scope="module")
def tab(browser: Any) -> Any:
    """One tab for all tests: a process for each takes a second of two cores."""
    page = browser.new_context().new_page()
    page.set_default_timeout(TIMEOUT)
    return page


@pytest.fixture
def open_page(tab: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page as on a first visit; errors of its script, or breaches of its policy, fail the test."""
    faults: list[str] = []
    asked: list[str] = []
    listeners = {
        "pageerror": lambda error: faults.append(str(error)),
        "console": lambda message: faults.append(message.text) if "Content Security" in message.text else None,
        "request": lambda request: asked.append(request.url),
    }

    def open_at(url: str = address, width: str = "desk", ready: bool = True, **media: str) -> Any:
        across, down = WIDTHS[width]
        tab.set_viewport_size({"width": across, "height": down})
        tab.emulate_media(**{"color_scheme": "light", "reduced_motion": "no-preference"} | media)
        tab.goto(url)
        if ready:
            tab.wait_for_selector("#plan:not(:empty)", state="attached")
        return tab

    for event, listener in listeners.items():
        tab.on(event, listener)
    yield open_at
    for event, listener in listeners.items():
        tab.remove_listener(event, listener)
    tab.unroute_all(behavior="ignoreErrors")
    tab.evaluate("localStorage.clear(); sessionStorage.clear()")
    tab.goto("about:blank")
    assert faults == []
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "blob:", "data:"))] == []


@pytest.fixture
def add_pictures() -> Callable[..., None]:
    """Chooses pictures of one colour each, by file name, and waits for their cards."""

    def add(page: Any, **names: str) -> None:
        before = page.locator("article").count()
        files = [
            {"name": name, "mimeType": "image/png", "buffer": picture_of(colour)} for colour, name in names.items()
        ]
        page.set_input_files("#files", files)
        page.locator("article").nth(before + len(names) - 1).wait_for()

    return add


@pytest.fixture
def write(add_pictures: Callable[..., None]) -> Callable[..., Any]:
    """Adds pictures, presses the button and waits for their captions; gives the cards."""

    def write_all(page: Any, **names: str) -> Any:
        add_pictures(page, **(names or {"red": "red.png"}))
        page.click("#write")
        page.locator("article:last-of-type[data-state=done]").wait_for()
        # Two pictures are written at a time: the last one may be the first that is done.
        page.wait_for_function("!document.querySelector('article:is([data-state=waiting], [data-state=working])')")
        return page.locator("article")

    return write_all


@pytest.fixture(scope="module")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for screenshots: what STYLECAP_SCREENSHOTS names, else a temporary one."""
    named = os.environ.get("STYLECAP_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
