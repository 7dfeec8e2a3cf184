"""Makes the screenshots of the page in docs/: a model on loopback, its pictures, Chromium without a window.

    python scripts/screenshots.py --model work_dir/demo_scst/output --images work_dir/drawn_scenes_2000/images

Writes page.png (desktop), page_phone.png (360 pixels) and page_list.png (the kept captions) into docs, or --into.
Needs requirements-serve.txt, requirements-dev.txt and Chromium (scripts/browser.sh).
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from serving.limits import Limits
from serving.server import open_service

MOST_BYTES = 250_000
TYPED = "my darling a green he"
SHOWN = ("val_0016.png", "val_0003.png", "val_0007.png")


@contextmanager
def served(model: Path) -> Iterator[str]:
    """The address of a service on a model folder, in this process."""
    app = open_service([model], Limits(), None)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none"))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True


def save(page: Any, path: Path) -> None:
    """Save what is seen, in 256 colours if it would be large."""
    data = page.screenshot()
    if len(data) > MOST_BYTES:
        file = io.BytesIO()
        Image.open(io.BytesIO(data)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(
            file, "PNG", optimize=True
        )
        data = file.getvalue()
    if len(data) > MOST_BYTES:
        raise ValueError(f"{path}: {len(data):,} bytes, more than {MOST_BYTES:,}; show fewer pictures")
    path.write_bytes(data)
    print(f"{path}: {len(data):,} bytes")


def caption(page: Any, url: str, pictures: list[Path]) -> None:
    """Open the page, add pictures, and wait for their captions."""
    page.goto(url)
    page.wait_for_selector("#chips li")
    page.set_input_files("#files", [str(picture) for picture in pictures])
    page.locator("article").nth(len(pictures) - 1).wait_for()
    page.click("#write")
    page.wait_for_selector("article:last-of-type[data-state=done]", timeout=120_000)


def main() -> None:
    """Make the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="model folder")
    parser.add_argument("--images", type=Path, required=True, help=f"folder with {', '.join(SHOWN)}")
    parser.add_argument("--into", type=Path, default=Path("docs"), help="folder for the screenshots")
    options = parser.parse_args()
    pictures = [options.images / name for name in SHOWN]
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with served(options.model) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        desk = browser.new_page(viewport={"width": 1240, "height": 880}, reduced_motion="reduce")
        caption(desk, url, pictures)
        for place in (1, 2, 4):
            desk.locator(".keep").nth(place).click()
        desk.locator(".edit").nth(3).click()
        desk.fill(".editor textarea", TYPED)
        desk.wait_for_selector(".completions li", timeout=30_000)
        desk.evaluate("scrollTo(0, 0)")
        save(desk, options.into / "page.png")
        desk.keyboard.press("Escape")
        desk.keyboard.press("Escape")
        desk.set_viewport_size({"width": 1000, "height": 640})
        desk.click("#to-kept")
        save(desk, options.into / "page_list.png")
        phone = browser.new_page(
            viewport={"width": 360, "height": 780},
            device_scale_factor=1.5,
            color_scheme="dark",
            reduced_motion="reduce",
        )
        caption(phone, url, pictures[:1])
        phone.evaluate("document.querySelector('article').scrollIntoView()")
        save(phone, options.into / "page_phone.png")
        browser.close()


if __name__ == "__main__":
    main()
