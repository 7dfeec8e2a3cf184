"""What is told of captions of drawn scenes: the scene they describe, and the style they are in."""

from __future__ import annotations

from pathlib import Path

import pytest

from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.pictures.drawn_scenes import STYLE_TEMPLATES, Scene, split_scenes
from preprocessors.pictures.scene_captions import marker_share, right_share, scene_of

SCENE = Scene(("red", "star"), "above", ("blue", "heart"))


def examples_of(scenes: list[Scene]) -> list[CaptionExample]:
    return [
        CaptionExample(make_example_id(f"{number}.png", style), Path(f"{number}.png"), style, (*scene.captions(style),))
        for number, scene in enumerate(scenes)
        for style in STYLE_TEMPLATES
    ]


def test_scene_of_every_caption_is_the_scene_that_it_was_written_for():
    for scene in split_scenes(7)[1][:30]:
        assert {scene_of(text) for style in STYLE_TEMPLATES for text in scene.captions(style)} == {scene}


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a red star above",
        "a red star a blue heart",
        "a star red above a blue heart",
        "above a red star a blue heart",
        "a red star above a blue heart beside a green square",
        "a red red star above a blue heart",
    ],
)
def test_scene_of_a_caption_that_lacks_or_adds_a_thing_is_none(caption):
    assert scene_of(caption) is None


def test_right_share_counts_a_picture_only_if_all_its_styles_are_right():
    others = [Scene(SCENE.second, "above", SCENE.first), Scene(SCENE.first, "inside", SCENE.second)]
    examples = examples_of([SCENE, *others])
    right = {example.example_id: example.captions[2].upper() for example in examples}
    assert right_share(examples, right) == 1.0
    assert right_share(examples, right | {"1.png#pirate": "ahoy a blue heart sails above a red square"}) == 2 / 3
    # Every word is there, but the two things have changed places.
    assert right_share(examples, right | {"1.png#pirate": right["0.png#pirate"]}) == 2 / 3
    assert right_share(examples, dict.fromkeys(right, "")) == 0.0


def test_right_share_without_examples_is_refused():
    with pytest.raises(ValueError, match="right_share: no examples"):
        right_share([], {})


def test_marker_share_own_captions_are_all_in_style_and_others_are_not():
    captions = {style: split_scenes(7)[1][0].captions(style) for style in STYLE_TEMPLATES}
    assert marker_share(captions) == 1.0
    assert marker_share({"pirate": captions["robot"], "robot": captions["pirate"]}) == 0.0


def test_marker_share_counts_mixed_and_unmarked_captions_as_misses():
    captions = ["Ahoy, a red star!", "ahoy my love a red star", "a red star", "arrow"]
    assert marker_share({"pirate": captions}) == 0.25


def test_marker_share_unknown_style_is_refused():
    with pytest.raises(ValueError, match="unknown style 'Pirate'; known: neutral, romantic"):
        marker_share({"Pirate": ["arr"]})


def test_marker_share_without_captions_is_refused():
    with pytest.raises(ValueError, match="no captions"):
        marker_share({"pirate": []})
