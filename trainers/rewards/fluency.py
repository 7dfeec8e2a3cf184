"""What a language model of styles makes of a caption: is it more of the style than of anybody, and as people write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from models.style_lm import StyleLM
from trainers.rewards.terms import FloatArray, RewardData, Term

AT_ONCE = 64
"""Captions that the model reads together."""
CAPTIONS_OF_A_STYLE = 200
"""Most captions that people's mean in a style is measured on, evenly chosen."""


class TextJudge(Protocol):
    """What the term asks of :class:`models.style_lm.StyleLM`."""

    @property
    def positions(self) -> int | None:
        """Most tokens of a document with BOS, control code and EOS."""

    def prompt(self, style: str | None) -> list[int]:
        """BOS and control code."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Ids with EOS, (N, T), filled up with -100."""

    def log_probs(self, texts: Tensor, styles: Sequence[str | None]) -> Tensor:
        """Nats of each token, (N, T), 0 behind EOS."""


def fluency(data: RewardData) -> Term:
    """How likely each caption is in the style wanted of its row, see :func:`fluency_of`; the model reads on the CPU.

    Raises:
        FileNotFoundError: If files of the model are missing.
        ValueError: If there is no model, it is damaged, or it lacks a style.
    """
    if data.fluency_lm is None:
        raise ValueError("reward 'fluency': needs scst.fluency_lm, the folder of a language model with the styles")
    try:
        return fluency_of(StyleLM.load_from_dir(data.fluency_lm), data)
    except ValueError as error:
        raise ValueError(f"reward 'fluency': {error}") from error


def fluency_of(judge: TextJudge, data: RewardData) -> Term:
    """What a caption has of its style, and what it lacks of people's fluency, nats per word.

    ``log p(caption | style) - log p(caption | neutral)`` per word, plus ``min(0, log p(caption | style) per word - m)``
    with people's mean ``m`` of the style's training captions. Beyond people's mean nothing is paid: the likeliest
    captions are the blandest. The end counts, so a caption that was cut off is unlikely. A number depends on the
    captions beside it by rounding alone, in float32.

    Args:
        judge: Knows the styles.
        data: Training rows.

    Raises:
        ValueError: If it lacks a style.
    """
    captions: defaultdict[str, list[str]] = defaultdict(list)
    for texts, style in zip(data.references, data.styles, strict=True):
        captions[style] += [text for text in texts if text]
    most = None  # tokens that are read: of a longer caption its beginning stands for the whole
    if judge.positions is not None:
        most = judge.positions + 1 - max(len(judge.prompt(style)) for style in captions)
    means = {style: _people_mean(judge, texts, style, most) for style, texts in captions.items()}

    def score(hypotheses: Sequence[str], rows: Sequence[int], ended: Sequence[bool]) -> FloatArray:
        styles = [data.styles[row] for row in rows]
        styled = _per_word(judge, hypotheses, styles, most)
        neutral = _per_word(judge, hypotheses, [None] * len(styles), most)
        below = np.minimum(0.0, styled - np.array([means[style] for style in styles]))
        return np.asarray(styled - neutral + below)

    return score


def _people_mean(judge: TextJudge, texts: Sequence[str], style: str, most: int | None) -> float:
    """Mean log-probability of a word of people's captions in a style, nats; that of longer captions counts more."""
    chosen = texts[:: -(-len(texts) // CAPTIONS_OF_A_STYLE)]
    means = _per_word(judge, chosen, [style] * len(chosen), most)
    return float(np.average(means, weights=[len(text.split()) for text in chosen]))


def _per_word(judge: TextJudge, texts: Sequence[str], styles: Sequence[str | None], most: int | None) -> FloatArray:
    """Log-probability of each text with its end, divided by its words, nats. Shape (N,)."""
    parts = [
        _few_per_word(judge, texts[start : start + AT_ONCE], styles[start : start + AT_ONCE], most)
        for start in range(0, len(texts), AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _few_per_word(judge: TextJudge, texts: Sequence[str], styles: Sequence[str | None], most: int | None) -> FloatArray:
    ids = judge.encode(texts)
    read = ids[:, :most]
    totals = judge.log_probs(read, styles).double().sum(1).cpu() * ids.ge(0).sum(1) / read.ge(0).sum(1)
    words = np.array([max(1, len(text.split())) for text in texts])
    return np.asarray(totals.numpy() / words)
