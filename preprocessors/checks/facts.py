"""What is told of captioned pictures whether or not anything is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from preprocessors.checks.captions import Splits, has_no_spaces
from preprocessors.examples import CaptionExample
from preprocessors.readers import ReadResult, count_reasons
from preprocessors.text.style_words import THRESHOLD, style_word_scores

WORDS = 10
"""Typical words of a style that are named."""
SAMPLES = 6
"""Pictures that are shown with their captions."""


def describe_split(split: ReadResult) -> dict[str, Any]:
    """Counts of a split, all and by style."""
    styles: dict[str, dict[str, int]] = {}
    for example in split.examples:
        own = styles.setdefault(example.style, {"examples": 0, "captions": 0})
        own["examples"] += 1
        own["captions"] += len(example.captions)
    captions = [caption for example in split.examples for caption in example.captions]
    return {
        "id": split.split_id,
        "pictures": len({example.image_path for example in split.examples}),
        "examples": len(split.examples),
        "captions": len(captions),
        "dropped": count_reasons(split.dropped),
        "share_without_spaces": sum(map(has_no_spaces, captions)) / max(1, len(captions)),
        "styles": dict(sorted(styles.items(), key=lambda item: (-item[1]["examples"], item[0]))),
    }


def style_words(examples: Sequence[CaptionExample]) -> dict[str, list[dict[str, Any]]]:
    """By style the words most typical of it, with their z; see :func:`style_word_scores`."""
    captions: dict[str, list[str]] = {}
    for example in examples:
        captions.setdefault(example.style, []).extend(example.captions)
    table = {}
    for style, scores in style_word_scores(captions).items():
        best = sorted(scores.items(), key=lambda item: (-item[1], item[0]))[:WORDS]
        table[style] = [{"word": word, "z": round(z, 2)} for word, z in best if z > THRESHOLD]
    return table


def choose_samples(splits: Splits, shown: set[Path]) -> list[dict[str, Any]]:
    """Some training pictures, evenly spread, with their captions.

    Args:
        splits: Examples by split.
        shown: Pictures that can be shown.
    """
    by_picture: dict[Path, list[CaptionExample]] = {}
    for example in splits.get("train", ()):
        if example.image_path in shown:
            by_picture.setdefault(example.image_path, []).append(example)
    pictures = list(by_picture)
    chosen = pictures[:: max(1, -(-len(pictures) // SAMPLES))][:SAMPLES]
    return [
        {
            "picture": str(path),
            "captions": [{"style": example.style, "caption": example.captions[0]} for example in by_picture[path]],
        }
        for path in chosen
    ]
