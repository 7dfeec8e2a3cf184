"""What a caption is worth in self-critical training: the terms of the reward, each from words to numbers.

A hypothesis's number depends on nothing but itself and its row, so that no term knows of batches or processes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.scores.bleu import bleu_from_statistics, bleu_statistics
from metrics.scores.cider import PreparedReferences
from metrics.scores.document_frequency import EOS, DocumentFrequency
from metrics.scores.measurement import MetricUnavailable
from metrics.scores.meteor import meteor_from_statistics, meteor_statistics, open_meteor
from metrics.style.judge import StyleClassifier
from metrics.tokenizers.ptb import TOKENIZER_NAME

FloatArray = NDArray[np.float64]

Term = Callable[[Sequence[str], Sequence[int], Sequence[bool]], FloatArray]
"""Takes N tokenised hypotheses, the row of the training data that each belongs to, and whether each ended by itself,
with EOS; gives their rewards. Shape (N,). Called from several threads at once."""


@dataclass(frozen=True)
class RewardData:
    """What terms may be prepared from: the training rows.

    Attributes:
        references: Human captions of each row, tokenised; at least one with a word each.
        styles: Style wanted of each row.
        document_frequency: Weights of n-grams; None counts them over the references.
        fluency_lm: Folder of the language model that ``fluency`` asks.
    """

    references: Sequence[Sequence[str]]
    styles: Sequence[str] = ()
    document_frequency: DocumentFrequency | None = None
    fluency_lm: Path | None = None


_ADD_ONE = np.array([0, 1, 1, 1, 0, 1, 1, 1, 0, 0])
"""To the statistics of BLEU: one more match and one more guess of each n-gram of two words and more."""


class RewardRequest(NamedTuple):
    """N hypotheses to reward."""

    rows: list[int]
    """Row of the training data that each belongs to; several may share one."""
    hypotheses: list[str]
    """As the model wrote them, not tokenised."""
    ended: list[bool]
    """True where the model ended with EOS, False where it was cut off."""


class Rewards(NamedTuple):
    """What N hypotheses are worth."""

    total: FloatArray
    """Weighted sum of the terms. Shape (N,)."""
    terms: dict[str, FloatArray]
    """Each term by name, unweighted. Shapes (N,)."""
    request: RewardRequest
    """What was rewarded."""


def join_rewards(parts: Sequence[Rewards]) -> Rewards:
    """What several requests, one behind the other, would have been worth as one."""
    requests = [part.request for part in parts]
    return Rewards(
        np.concatenate([part.total for part in parts]),
        {name: np.concatenate([part.terms[name] for part in parts]) for name in parts[0].terms},
        RewardRequest(*(sum(column, []) for column in zip(*requests, strict=True))),
    )


def cider_d(data: RewardData) -> Term:
    """CIDEr-D against the captions of the row, in [0, 10]. EOS is a word, which captions that were cut off lack.

    The references are weighted here, once.
    """
    frequency = data.document_frequency or count_document_frequency(data.references)
    return PreparedReferences(data.references, frequency).score


def count_document_frequency(references: Sequence[Sequence[str]]) -> DocumentFrequency:
    """In how many rows each n-gram occurs; every caption ends with EOS."""
    return DocumentFrequency.from_references(references, tokenizer=TOKENIZER_NAME, eos=EOS)


def bleu_4(data: RewardData) -> Term:
    """BLEU-4 of each caption alone against the captions of the row, in [0, 1]; 0 if it has no word.

    One is added to the matches and to the guesses of two words and more: most captions would be 0 otherwise, for want
    of a match of four words. A caption too short to have such an n-gram is only held down by the penalty on its length.

    Source:
        Smoothing: Lin and Och 2004, https://aclanthology.org/C04-1072.
    """

    def score(hypotheses: Sequence[str], rows: Sequence[int], ended: Sequence[bool]) -> FloatArray:
        statistics = bleu_statistics([data.references[row] for row in rows], hypotheses)
        return bleu_from_statistics(statistics + _ADD_ONE)[:, 3]

    return score


def meteor(data: RewardData) -> Term:
    """METEOR of each caption against the captions of the row, in [0, 1]; 0 if nothing matches.

    Raises:
        ValueError: If METEOR's files are not there or damaged.
    """
    try:
        open_meteor()
    except MetricUnavailable as error:
        raise ValueError(f"reward 'meteor': {error}") from error

    def score(hypotheses: Sequence[str], rows: Sequence[int], ended: Sequence[bool]) -> FloatArray:
        return meteor_from_statistics(meteor_statistics([data.references[row] for row in rows], hypotheses))

    return score


def style(data: RewardData) -> Term:
    """How likely each caption is in the style wanted of its row; the references of a style teach its classifier.

    Raises:
        ValueError: If there are fewer than two styles to tell apart.
    """
    captions_by_style: defaultdict[str, list[str]] = defaultdict(list)
    for texts, name in zip(data.references, data.styles, strict=True):
        captions_by_style[name] += texts
    return style_probability(StyleClassifier.fit(captions_by_style), data.styles)


def style_probability(classifier: StyleClassifier, styles: Sequence[str]) -> Term:
    """How likely each caption is in the style wanted of its row, in [0, 1]; 0 if it has no word.

    Args:
        classifier: Knows the styles.
        styles: Style wanted of each row.

    Raises:
        ValueError: If the classifier lacks one of them, or knows only one.
    """
    known = {style: column for column, style in enumerate(classifier.styles)}
    if len(known) < 2:
        raise ValueError(
            f"reward 'style': all captions are in the style {classifier.styles[0]!r}; it takes two to tell them apart. "
            "Leave this term out."
        )
    foreign = sorted(set(styles) - known.keys())
    if foreign:
        raise ValueError(f"reward 'style': no captions in the style {foreign[0]!r}; known: {', '.join(known)}.")
    columns = np.array([known[style] for style in styles])

    def score(hypotheses: Sequence[str], rows: Sequence[int], ended: Sequence[bool]) -> FloatArray:
        wanted = classifier.probabilities(hypotheses)[np.arange(len(hypotheses)), columns[rows]]
        return np.where([text != "" for text in hypotheses], wanted, 0.0)

    return score


def repetition(data: RewardData) -> Term:
    """Minus the share of a caption's words and pairs of words that stand in it before.

    In [-1, 0]; 0 if nothing is said twice.
    """

    def score(hypotheses: Sequence[str], rows: Sequence[int], ended: Sequence[bool]) -> FloatArray:
        return np.array([_repetition(text.split()) for text in hypotheses], dtype=np.float64)

    return score


def _repetition(words: list[str]) -> float:
    said = [*words, *pairwise(words)]
    return len(set(said)) / len(said) - 1 if said else 0.0


def length(data: RewardData) -> Term:
    """Minus the difference of a caption's words from the mean of the row's captions, as a share of this mean.

    In [-1, 0]: 0 at the mean, -1 without a word or with twice as many and more.
    """
    means = np.array([np.mean([len(text.split()) for text in texts]) for texts in data.references])

    def score(hypotheses: Sequence[str], rows: Sequence[int], ended: Sequence[bool]) -> FloatArray:
        words = np.array([len(text.split()) for text in hypotheses])
        return np.asarray(np.maximum(-np.abs(words / means[rows] - 1), -1))

    return score
