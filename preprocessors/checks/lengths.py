"""How many tokens captions have, against what is generated and what the model has places for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from preprocessors.checks.findings import Case, Findings
from preprocessors.examples import CaptionExample
from preprocessors.text.captions import Punctuation, clean_caption

COVERED = 0.995
"""Share of the training captions that a limit should leave whole."""
PERCENTILES = (50, 90, 95, 99, 99.5, 100)
TOKENS_PER_WORD = 1.3
"""Of English captions in a BPE; used where there is no tokenizer to ask."""


class Limits(NamedTuple):
    """Most tokens of a caption."""

    decoded: int | None
    """That are generated; None if training is to choose."""
    places: int | None
    """That the model has places for; None if that is not known."""


def check_lengths(
    examples: Sequence[CaptionExample],
    count: Callable[[str], int],
    limits: Limits,
    findings: Findings,
    punctuation: Punctuation = "strip",
) -> dict[str, Any]:
    """Add what is too long.

    Args:
        examples: Of the training split.
        count: Tokens of a caption as it is trained on, without EOS.
        limits: To hold the lengths against.
        findings: To add to.
        punctuation: The rule that captions are trained by.

    Returns:
        Percentiles, the share that is longer than ``limits.decoded`` (None if there is none), and the shortest limit
        that leaves ``COVERED`` of the captions whole.
    """
    counts: dict[str, int] = {}
    lengths = []
    for example in examples:
        for caption in example.captions:
            if caption not in counts:
                counts[caption] = count(clean_caption(caption, punctuation=punctuation))
            lengths.append(counts[caption])
    array = np.array(lengths)
    longer = None if limits.decoded is None else float((array > limits.decoded).mean())
    if limits.decoded is not None and longer is not None and longer > 1 - COVERED:
        findings.add("longer_than_decoded", _longer(examples, counts, limits.decoded))
    if limits.places is not None:
        findings.add("longer_than_positions", _longer(examples, counts, limits.places))
    return {
        "percentiles": {f"{percent:g}": float(np.percentile(array, percent)) for percent in PERCENTILES},
        "max_length": limits.decoded,
        "share_longer": longer,
        "covers_99.5%": int(np.percentile(array, 100 * COVERED, method="higher")),
        "places": limits.places,
    }


def estimate(caption: str) -> int:
    """Tokens of an English caption, from its words."""
    return round(TOKENS_PER_WORD * len(caption.split()))


def _longer(examples: Sequence[CaptionExample], counts: dict[str, int], most: int) -> Iterator[Case]:
    for example in examples:
        for caption in example.captions:
            if (length := counts[caption]) > most:
                yield Case(example.where, f"{length} tokens, {most} fit: {caption}")
