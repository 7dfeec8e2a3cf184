"""From captions to METEOR: the counts of each hypothesis with its best reference, and the score that they make."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from metrics.meteor.beam import Alignments, Problem, align_all
from metrics.meteor.matching import STAGES, Hypothesis, RelatedWords, find_matches
from metrics.meteor.words import Line, Reader

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

NUM_COUNTS = 23
"""Numbers by example: lengths and function words (hypothesis, reference), 16 match counts, chunks, matched words."""
CHUNKS = 20
"""Place of the chunks among them; before these four by stage (content words of the hypothesis and of the reference,
function words of both), behind them the matched words of both."""

# METEOR 1.5's parameters and module weights (exact, stem, synonym, paraphrase) for English.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])
_LINES = 5000  # captions read at once


def count_all(references: Sequence[Sequence[Line]], hypotheses: Sequence[Line], reader: Reader) -> IntArray:
    """The counts of each hypothesis with the reference that it scores best with, the first of several.

    Returns:
        Shape (N, 23). A hypothesis whose words all match in one chunk has its chunk here.
    """
    related = RelatedWords(reference for own in references for reference in own)
    problems: list[Problem] = []
    first: list[Line] = []
    second: list[Line] = []
    for own, line in zip(references, hypotheses, strict=True):
        hypothesis = Hypothesis(line, related)
        for reference in own:
            matches = find_matches(hypothesis, reference, reader)
            problems.append(Problem(matches, len(reference.words), len(line.words)))
        first += [line] * len(own)
        second += own
    counts = _count(first, second, align_all(problems))
    scores = score(without_whole(counts))
    ends = np.cumsum([len(own) for own in references]).tolist()
    best = [start + int(scores[start:end].argmax()) for start, end in zip([0, *ends], ends, strict=False)]
    return counts[best]


def statistics(references: Sequence[Sequence[str]], hypotheses: Sequence[str], reader: Reader) -> IntArray:
    """METEOR's counts of captions.

    Args:
        references: Human captions of each example, at least one each.
        hypotheses: One caption per example; may be empty.
        reader: Makes lines of them.

    Returns:
        Shape (N, 23). Their sum is that of the corpus: a hypothesis whose words all match in one chunk has 0 chunks
        here, as METEOR leaves it out of its sum of them.
    """
    with _not_collecting():
        parts = [_part(texts, some, reader) for texts, some in _portions(references, hypotheses)]
    return without_whole(np.concatenate([np.empty((0, NUM_COUNTS), dtype=np.int64), *parts]))


def score(counts: IntArray | FloatArray) -> FloatArray:
    """METEOR of one example or, from summed statistics, of many.

    Args:
        counts: What ``statistics`` gives, or sums of it. Shape (..., 23).

    Returns:
        Scores in [0, 1], 0 where nothing matches. Shape (...).

    Source:
        Denkowski and Lavie 2014, https://aclanthology.org/W14-3348.
    """
    lengths, function_words = counts[..., :2], counts[..., 2:4]
    # (..., stage, content or function words, hypothesis or reference)
    matches = counts[..., 4:CHUNKS].reshape(*counts.shape[:-1], len(STAGES), 2, 2)
    # Added up one by one, so that two references that are equally good are so to the last bit.
    weighted = np.zeros(lengths.shape)
    for kind, share in enumerate((_DELTA, 1 - _DELTA)):
        for stage, weight in enumerate(_WEIGHTS):
            weighted = weighted + matches[..., stage, kind, :] * weight * share
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = weighted / (_DELTA * (lengths - function_words) + (1 - _DELTA) * function_words)
        mean = 1 / ((1 - _ALPHA) / shares[..., 0] + _ALPHA / shares[..., 1])
        fragmentation = counts[..., CHUNKS] / (counts[..., CHUNKS + 1 :].sum(axis=-1) / 2)
        scores = mean * (1 - _GAMMA * fragmentation**_BETA)
    return np.asarray(np.maximum(np.nan_to_num(scores), 0.0))


@contextmanager
def _not_collecting() -> Iterator[None]:
    """No search for garbage in circles meanwhile: many small objects are made, none in a circle, a quarter faster."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _portions(
    references: Sequence[Sequence[str]], hypotheses: Sequence[str]
) -> Iterator[tuple[Sequence[Sequence[str]], Sequence[str]]]:
    size = max(1, _LINES * len(hypotheses) // max(1, len(hypotheses) + sum(map(len, references))))
    for start in range(0, len(hypotheses), size):
        yield references[start : start + size], hypotheses[start : start + size]


def _part(references: Sequence[Sequence[str]], hypotheses: Sequence[str], reader: Reader) -> IntArray:
    # The hypotheses of a training step share references.
    texts = list(dict.fromkeys([*hypotheses, *(text for own in references for text in own)]))
    lines = dict(zip(texts, reader.read(texts), strict=True))
    return count_all([[lines[text] for text in own] for own in references], [lines[t] for t in hypotheses], reader)


def _count(hypotheses: Sequence[Line], references: Sequence[Line], found: Alignments) -> IntArray:
    """The counts of each pair of lines. Shape (pairs, 23)."""
    counts = np.zeros((len(hypotheses), NUM_COUNTS), dtype=np.int64)
    start, length, other_start, other_length, stage = found.matches.T
    for side, lines, begin, size in ((0, hypotheses, other_start, other_length), (1, references, start, length)):
        lengths = np.array([len(line.words) for line in lines], dtype=np.int64)
        # How many function words there are before each word of all lines.
        flags = np.fromiter(chain.from_iterable(line.is_function for line in lines), np.int64)
        before = np.concatenate([[0], np.cumsum(flags)])
        offsets = np.cumsum(lengths) - lengths
        counts[:, side] = lengths
        counts[:, 2 + side] = before[offsets + lengths] - before[offsets]
        places = offsets[found.pair] + begin
        function = before[places + size] - before[places]
        column = 4 + 4 * stage + side
        np.add.at(counts, (found.pair, column), size - function)
        np.add.at(counts, (found.pair, column + 2), function)
        counts[:, CHUNKS + 1 + side] = counts[:, 4 + side : CHUNKS : 2].sum(axis=1)
    counts[:, CHUNKS] = found.chunks
    return counts


def without_whole(counts: IntArray) -> IntArray:
    """The counts, without the chunk of those whose words all match in one."""
    whole = (counts[:, CHUNKS + 1 :] == counts[:, :2]).all(axis=1) & (counts[:, CHUNKS] == 1)
    found = counts.copy()
    found[whole, CHUNKS] = 0
    return found
