from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reports.data.page import write_check_page

VOID = {"meta", "img", "br"}


class Page(HTMLParser):
    """Text, images, and whether every element is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.images, self.open, self.misplaced = "", [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.misplaced.append(tag)

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text = " ".join(f"{self.text} {data}".split())


@pytest.fixture
def report(tmp_path: Path) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200), "red").save(tmp_path / "phone.jpg", exif=exif)
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    pictures = [str(tmp_path / "phone.jpg"), str(tmp_path / "bad.jpg")]
    case = {"where": "train.jsonl, row 3", "value": "a <b>dog</b> & cat", "pictures": pictures}
    return {
        "clean": False,
        "findings": [
            {"kind": "markup", "severity": "warning", "count": 1234, "title": "captions with tags", "remedy": "Do it."}
            | {"examples": [case]}
        ],
        "data": {"format": "jsonl", "annotations": "data"},
        "splits": {
            "train": {"pictures": 2, "examples": 3, "captions": 4, "styles": {"wry": {"examples": 3, "captions": 4}}},
            "val": {"pictures": 1, "examples": 1, "captions": 1, "styles": {"calm": {"examples": 1, "captions": 1}}},
        },
        "absent": {"test": "no <file>"},
        "pictures": {"there": 3, "opened": 1, "known": 2},
        "lengths": {
            "percentiles": {"50": 9.0, "100": 17.5},
            "tokenizer": "a new BPE",
            "max_length": 16,
            "share_longer": 0.125,
            "covers_99.5%": 18,
        },
        "punctuation": [
            {"split": "val", "method": "itself", "n": 3, "as_written": 10.0, "under_rule": 9.5, "lost": 0.05}
        ],
        "style_words": {"wry": [{"word": "oh", "z": 3.1}, {"word": "well", "z": 2.5}]},
        "samples": [{"picture": pictures[0], "captions": [{"style": "wry", "caption": "oh <i>well</i>"}]}],
        "seconds": 1.5,
    }


def test_page_shows_everything_and_loads_nothing(report: dict[str, Any], tmp_path: Path):
    write_check_page(tmp_path / "out/check.html", report, title="my <set>")
    html = (tmp_path / "out/check.html").read_text()
    page = Page(html)
    assert (page.open, page.misplaced) == ([], [])
    assert "1,234 · Captions with tags" in page.text
    for text in ("my <set>", "a <b>dog</b> & cat", "train.jsonl, row 3", "No test: no <file>", "oh, well", "12.5%"):
        assert text in page.text
    assert "9.50 of 10.00" in page.text
    assert "95.0%" in page.text
    assert page.text.count("cannot be shown") == 1
    assert {source.partition(",")[0] for source in page.images} == {"data:image/jpeg;base64"}
    assert re.search(r"(?:src|href)=.(?!data:)|url\(|@import|<script", html) is None
    assert "prefers-color-scheme: dark" in html
    assert "max-width: 640px" in html
    with Image.open(io.BytesIO(base64.b64decode(page.images[0].partition(",")[2]))) as thumbnail:
        assert thumbnail.size == (80, 160)  # upright


def test_page_of_a_clean_set_says_so(report: dict[str, Any], tmp_path: Path):
    write_check_page(tmp_path / "check.html", report | {"findings": [], "clean": True, "samples": []}, title="x")
    assert "Nothing was found" in Page((tmp_path / "check.html").read_text()).text
