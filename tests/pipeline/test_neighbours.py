from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.neighbours import OFF, draw_pictures, look_up
from pipeline.results import captions_by_style
from preprocessors.examples import CaptionExample, make_example_id

# Right, up, down and left; x lies to the right and somewhat above, y below and somewhat to the left.
FEATURES = {"r": (1, 0), "u": (0, 1), "d": (0, -1), "l": (-1, 0), "x": (3, 1), "y": (-0.2, -0.9)}


def example(name: str, style: str, *captions: str) -> CaptionExample:
    return CaptionExample(make_example_id(name, style), Path("pictures") / name, style, captions)


TRAIN = [
    example("r", "old", "r old"),
    example("u", "old", "u old", "u old too"),
    example("r", "new", "r new 1", "r new 2"),
    example("d", "new", "d new"),
    example("l", "old", "l old"),
    example("l", "new", "l new"),
]


def source(pictures):
    for picture in pictures:
        yield torch.tensor([FEATURES[picture.name]], dtype=torch.float32)


def captions(found, examples) -> dict[str, list[str]]:
    """What the places stand for, by example id."""
    texts = captions_by_style(TRAIN)
    return {e.example_id: [texts[e.style][place] for place in found.captions[e.example_id]] for e in examples}


@pytest.fixture
def all_near(monkeypatch):
    monkeypatch.setattr("metrics.neighbours.NEAREST_PART", 1.0)


@pytest.mark.usefixtures("all_near")
def test_look_up_gives_the_captions_of_a_style_nearest_picture_first():
    asked = [example("x", "new", "?"), example("y", "new", "?"), example("y", "old", "?"), example("x", "old", "?")]

    found = look_up(100, TRAIN, asked, source)

    assert captions(found, asked) == {
        "x#new": ["r new 1", "r new 2", "d new", "l new"],
        "y#new": ["d new", "l new", "r new 1", "r new 2"],
        "y#old": ["l old", "r old", "u old", "u old too"],
        "x#old": ["r old", "u old", "u old too", "l old"],
    }
    assert found.train_pictures == 4


@pytest.mark.usefixtures("all_near")
def test_look_up_of_a_training_picture_passes_itself_over_in_every_style():
    asked = [example("r", "old", "?"), example("r", "new", "?")]

    found = captions(look_up(100, TRAIN, asked, source), asked)

    assert {text[0] for texts in found.values() for text in texts} == {"u", "d", "l"}


def test_look_up_asks_for_each_picture_once_and_for_none_of_other_styles():
    seen = []

    def counting(pictures):
        seen.extend(picture.name for picture in pictures)
        return source(pictures)

    look_up(100, TRAIN, [example("x", "old", "?"), example("r", "old", "?")], counting)

    assert sorted(seen) == ["l", "r", "u", "x"]


def test_look_up_in_a_style_without_training_captions_finds_nothing():
    asked = [example("x", "odd", "?"), example("x", "old", "?")]
    found = look_up(100, TRAIN, asked, source)
    assert captions(found, asked) == {"x#odd": [], "x#old": ["r old"]}


def test_draw_pictures_by_their_names_whatever_their_order_and_folder():
    names = ["r", "u", "d", "l"]
    # sha256 begins with 454349e4 (r), 0bfe935e (u), 18ac3e73 (d), acac86c0 (l).
    drawn = draw_pictures([example(name, style, "?") for name in names for style in ("old", "new")], 2)
    assert [picture.name for picture in drawn] == ["u", "d"]
    moved = [CaptionExample(make_example_id(name, "s"), Path("b") / name, "s", ("?",)) for name in names[::-1]]
    assert draw_pictures(moved, 3) == [Path("b/d"), Path("b/u"), Path("b/r")]
    assert len(draw_pictures(moved, 4)) == 4


def test_look_up_that_is_off_opens_nothing():
    assert look_up(0, TRAIN, TRAIN, None) == OFF


@pytest.mark.parametrize("error", [ValueError("u: cannot be read"), RuntimeError("u: out of memory")])
def test_look_up_that_fails_is_a_reason_and_a_warning(error, caplog):
    def failing(pictures):
        yield from source(pictures[:1])
        raise error

    found = look_up(100, TRAIN, [example("x", "old", "?")], failing)

    assert found == f"the features of the pictures cannot be computed: {error}"
    assert str(error) in caplog.text
