"""What captions of drawn scenes say, and whether it is true and in style."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from preprocessors.examples import CaptionExample
from preprocessors.pictures.drawn_scenes import COLOURS, RELATIONS, SHAPES, Scene

STYLE_MARKERS: dict[str, tuple[str, ...]] = {
    "neutral": ("picture",),
    "romantic": ("love", "darling", "kiss"),
    "pirate": ("arr", "matey", "ahoy", "treasure"),
    "robot": ("beep", "scan", "detected"),
}
"""A caption is in a style if it holds one of that style's markers and none of another style's."""


def scene_of(caption: str) -> Scene | None:
    """The scene that a caption describes; None if it does not name two things and one relation between them."""
    words = re.findall(r"\w+", caption.lower())
    named = [word for word in words if word in COLOURS or word in SHAPES or word in RELATIONS]
    match named:
        case [colour, shape, relation, other_colour, other_shape] if (
            {colour, other_colour} <= COLOURS.keys() and {shape, other_shape} <= SHAPES.keys() and relation in RELATIONS
        ):
            return Scene((colour, shape), relation, (other_colour, other_shape))
    return None


def right_share(examples: Sequence[CaptionExample], captions: Mapping[str, str]) -> float:
    """Share of the pictures that are described rightly, both colours, both shapes and the relation, in every style.

    Args:
        examples: Drawn scenes; what people say of a picture is what it shows.
        captions: By example id.

    Returns:
        Number in [0, 1].

    Raises:
        ValueError: If there is no example.
    """
    right: dict[str, bool] = {}
    for example in examples:
        said = scene_of(captions[example.example_id])
        name = example.image_name
        right[name] = right.get(name, True) and said is not None and said == scene_of(example.captions[0])
    if not right:
        raise ValueError("right_share: no examples; give at least one.")
    return sum(right.values()) / len(right)


def marker_share(captions_by_style: Mapping[str, Sequence[str]]) -> float:
    """Share of captions that are in the style they were asked for, judged by ``STYLE_MARKERS``.

    Args:
        captions_by_style: Captions under the style each was asked for.

    Returns:
        Number in [0, 1]; case and punctuation of the captions do not matter.

    Raises:
        ValueError: If a style is not one of the drawn scenes', or there is no caption.
    """
    unknown = sorted(set(captions_by_style) - set(STYLE_MARKERS))
    if unknown:
        raise ValueError(f"marker_share: unknown style {unknown[0]!r}; known: {', '.join(STYLE_MARKERS)}.")
    verdicts = [_styles_of(caption) == {style} for style, captions in captions_by_style.items() for caption in captions]
    if not verdicts:
        raise ValueError("marker_share: no captions; give at least one.")
    return sum(verdicts) / len(verdicts)


def _styles_of(caption: str) -> set[str]:
    words = set(re.findall(r"\w+", caption.lower()))
    return {style for style, markers in STYLE_MARKERS.items() if not words.isdisjoint(markers)}
