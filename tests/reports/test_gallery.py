from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from reports.gallery import CaptionedPicture, StyledCaptions, write_gallery
from tests.reports.data.test_page import Page


@pytest.fixture
def html(tmp_path: Path) -> str:
    Image.new("RGB", (400, 200), "red").save(tmp_path / "a.png")
    pictures = [
        CaptionedPicture(
            "a <1>.png",
            tmp_path / "a.png",
            [StyledCaptions("wry", ["a <b>dog</b> & cat", ""], ["a <i>hound</i>"]), StyledCaptions("calm", ["tea"])],
        ),
        CaptionedPicture("gone.png", tmp_path / "gone.png", [StyledCaptions("wry", ["was there"])]),
        CaptionedPicture("bad.png", tmp_path / "bad.png", error="it is <XML>"),
    ]
    write_gallery(tmp_path / "x.html", pictures, title="my & model", how="Beam search.")
    return (tmp_path / "x.html").read_text(encoding="utf-8")


def test_page_is_one_whole_file_that_loads_nothing_and_shows_text_as_text(html):
    page = Page(html)
    assert not page.misplaced
    assert not page.open
    assert "default-src 'none'" in html
    assert "a <b>dog</b> & cat nothing a <i>hound</i>" in page.text
    assert "a <1>.png" in page.text
    assert "2 pictures in 2 styles; 1 picture could not be captioned. Beam search." in page.text
    assert page.text.endswith("Could not be captioned bad.png it is <XML>")


def test_pictures_are_shown_small_and_one_that_is_gone_is_told(html):
    (source,) = Page(html).images
    small = Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))
    assert small.size == (240, 120)
    assert html.count("cannot be shown") == 1
    assert Page(html).text.index("cannot be shown") > Page(html).text.index("hound")


def test_styles_have_tags_in_colours_of_their_own(html):
    hues = dict(re.findall(r'--hue: (\d+)">(\w+)<', html))
    assert len(hues) == 2
    assert {*hues.values()} == {"wry", "calm"}


def test_single_style_is_named_once_above(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    picture = CaptionedPicture("a.png", tmp_path / "a.png", [StyledCaptions("wry", ["dog"])])
    write_gallery(tmp_path / "x.html", [picture], title="m", how="Beam search.")
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    assert "1 picture, wry. Beam search." in page.text
    assert page.text.count("wry") == 1
