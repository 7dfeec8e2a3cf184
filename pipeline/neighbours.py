"""The training pictures that look most like those of an evaluation, by the captioner's own features."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from captioning.features import FeatureSource, pooled_features
from metrics.baselines import LookedUp
from metrics.neighbours import nearest_rows
from metrics.scores.ngrams import IntArray
from preprocessors.examples import CaptionExample

logger = logging.getLogger(__name__)

OFF = "eval.neighbours is 0: no training picture is looked at"


def look_up(
    most: int, train_examples: Sequence[CaptionExample], examples: Sequence[CaptionExample], source: FeatureSource
) -> LookedUp | str:
    """The captions of the training pictures nearest to each example's, in its style.

    Args:
        most: Training pictures to look at; where there are more, their names' hashes draw them. 0 is off.
        train_examples: Their captions are numbered as in ``pipeline.results.captions_by_style``.
        examples: A picture that is also a training picture is no neighbour of itself.
        source: Of features.

    Returns:
        What the baseline is made from, or why it cannot be: an evaluation goes on without it.
    """
    if most == 0:
        return OFF
    try:
        return _look_up(most, train_examples, examples, source)
    except Exception as error:  # Pictures raise anything, memory may run out; the results are worth more than this.
        logger.warning("no look at the nearest training pictures: %s", error)
        return f"the features of the pictures cannot be computed: {error}"


def draw_pictures(examples: Iterable[CaptionExample], most: int) -> list[Path]:
    """The pictures of examples in their order, at most so many: those whose names' SHA-256 is smallest."""
    names = {example.image_path: example.image_name for example in examples}
    by_hash = sorted(names, key=lambda picture: hashlib.sha256(names[picture].encode()).digest())
    drawn = set(by_hash[:most])
    return [picture for picture in names if picture in drawn]


def _look_up(
    most: int, train_examples: Sequence[CaptionExample], examples: Sequence[CaptionExample], source: FeatureSource
) -> LookedUp:
    asked: dict[str, list[CaptionExample]] = {}
    for example in examples:
        asked.setdefault(example.style, []).append(example)
    drawn = draw_pictures((example for example in train_examples if example.style in asked), most)
    # All at once and each once: an evaluated picture may be a training picture, and has several styles.
    pictures = [*dict.fromkeys([*drawn, *(example.image_path for example in examples)])]
    features = dict(zip(pictures, pooled_features(source, pictures), strict=True))
    captions = _number_captions(train_examples, set(drawn))
    found: dict[str, IntArray] = {}
    for style, group in asked.items():
        found |= _nearest_captions(group, captions.get(style, {}), features)
    return LookedUp(found, len(drawn))


def _number_captions(
    examples: Sequence[CaptionExample], pictures: AbstractSet[Path]
) -> dict[str, dict[Path, list[int]]]:
    """By style and picture the places of its captions among all captions of the style."""
    counts: dict[str, int] = {}
    found: dict[str, dict[Path, list[int]]] = {}
    for example in examples:
        first = counts.get(example.style, 0)
        counts[example.style] = first + len(example.captions)
        if example.image_path in pictures:
            own = found.setdefault(example.style, {}).setdefault(example.image_path, [])
            own += range(first, counts[example.style])
    return found


def _nearest_captions(
    examples: Sequence[CaptionExample],
    captions: Mapping[Path, Sequence[int]],
    features: Mapping[Path, NDArray[np.float32]],
) -> dict[str, IntArray]:
    """By example_id the captions of the nearest pictures, given those of all pictures that have some."""
    if not captions:
        return {example.example_id: np.empty(0, np.int64) for example in examples}
    pictures = [*captions]
    rows = {picture: row for row, picture in enumerate(pictures)}
    nearest = nearest_rows(
        np.stack([features[example.image_path] for example in examples]),
        np.stack([features[picture] for picture in pictures]),
        own=np.array([rows.get(example.image_path, -1) for example in examples]),
    )
    return {
        example.example_id: np.array([place for row in near for place in captions[pictures[row]]], np.int64)
        for example, near in zip(examples, nearest, strict=True)
    }
