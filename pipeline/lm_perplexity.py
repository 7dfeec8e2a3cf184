"""How a language model of the styles foretells captions, beside the n-gram models of the style judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from metrics.tokenizers.ptb import tokenize_many
from models.style_lm import StyleLM
from preprocessors.examples import CaptionExample

AT_ONCE = 64
"""Captions that the model reads together."""


class Foretold(NamedTuple):
    """What a language model says of captions of one style.

    Attributes:
        perplexity: Inverse of the geometric mean probability of a word; the end of a caption counts as one.
        bits_per_byte: Of the words with a space between.
    """

    perplexity: float
    bits_per_byte: float


def check_lm(folder: Path | None) -> None:
    """Refuse a language model that cannot be used, before a training is over whose captions it is to judge.

    Args:
        folder: Of the model; None for none.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they are damaged.
        NoNumbers: If a weight is NaN or infinite.
    """
    if folder is not None:
        StyleLM.load_from_dir(folder)


def add_lm_perplexity(
    results: dict[str, Any],
    folder: Path,
    examples: Sequence[CaptionExample],
    hypotheses: dict[str, str],
    device: torch.device,
) -> None:
    """Add ``lm_perplexity`` and ``lm_bits_per_byte`` of hypotheses and of people's captions to a style's results.

    They stand beside the n-gram models' under each style. Captions are read as the judge reads them, as words. Where
    n-grams foretell people's captions of a style better, the hypotheses get no number, and the reason is told.

    Args:
        results: Of ``pipeline.results.score_examples``; changed in place.
        folder: Of the language model.
        examples: With references.
        hypotheses: Caption by example id.
        device: Where the model reads.
    """
    try:
        lm = StyleLM.load_from_dir(folder)
        lm.network.to(device)
        per_style = (results["style"] or {}).get("per_style") or {}
        for style, scores in per_style.items():
            rows = [example for example in examples if example.style == style]
            people = foretell(lm, [text for row in rows for text in row.captions], style)
            scores |= {"reference_lm_perplexity": people.perplexity, "reference_lm_bits_per_byte": people.bits_per_byte}
            scores |= {"lm_perplexity": None, "lm_bits_per_byte": None}
            if (ngram := scores.get("reference_perplexity")) is not None and people.perplexity >= ngram:
                results["unavailable"][f"style/{style}/lm_perplexity"] = (
                    f"{folder} foretells people's captions no better than n-grams do: perplexity "
                    f"{people.perplexity:.1f}, of an n-gram model {ngram:.1f}"
                )
                continue
            written = foretell(lm, [hypotheses[row.example_id] for row in rows], style)
            scores |= {"lm_perplexity": written.perplexity, "lm_bits_per_byte": written.bits_per_byte}
    except (FileNotFoundError, ValueError) as error:  # what cannot be measured stops no evaluation
        results["unavailable"]["style/lm_perplexity"] = str(error)


@torch.no_grad()
def foretell(lm: StyleLM, captions: Sequence[str], style: str) -> Foretold:
    """What a language model says of captions.

    Raises:
        ValueError: If it does not know the style, or a caption is longer than its positions.
    """
    texts = tokenize_many(captions)
    nats = -math.fsum(
        float(
            lm.log_probs(texts[start : start + AT_ONCE], [style] * len(texts[start : start + AT_ONCE])).double().sum()
        )
        for start in range(0, len(texts), AT_ONCE)
    )
    words = sum(len(text.split()) + 1 for text in texts)
    sizes = sum(len(text.encode()) for text in texts)
    return Foretold(math.exp(nats / words), nats / math.log(2) / max(sizes, 1))
