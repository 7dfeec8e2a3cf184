"""How a style classifier learns its linear model."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.style.features import BUCKETS

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

FOLDS = 3
_MAX_STYLES_TO_CHOOSE, _MAX_CAPTIONS_TO_CHOOSE = 20, 12_000
"""The setting is chosen on so many, which bounds the time of cross-validation."""
_TEMPERATURES = (0.05, 100.0)


class Setting(NamedTuple):
    """What cross-validation chooses."""

    weighting: str
    """How features are scaled: ``log-ratio`` or ``idf``."""
    strength: float
    """C of the support vector machine; the smaller, the more regularised."""


# The simplest first. Log-ratios want many captions of each style: with few they are mostly chance.
SETTINGS = (*(Setting("log-ratio", strength) for strength in (0.1, 0.2, 0.5, 1.0)), Setting("idf", 0.1))


class LinearModel(NamedTuple):
    """The softmax of ``counts @ weights + intercepts`` are the probabilities of the styles."""

    weights: FloatArray
    """Shape (columns, S)."""
    intercepts: FloatArray
    """Shape (S,)."""

    def margins(self, counts: Any) -> FloatArray:
        """How much each caption looks like each style. Shape (N, S)."""
        return np.asarray(counts @ self.weights + self.intercepts)


class _Examples(NamedTuple):
    """Captions to learn from."""

    counts: Any
    """Scipy CSR, shape (N, columns): words and pairs, then character n-grams."""
    num_word_columns: int
    targets: IntArray
    """Number of the style, from 0. Shape (N,)."""
    num_styles: int

    def pick(self, rows: NDArray[np.bool_]) -> _Examples:
        """Some of the captions."""
        return self._replace(counts=self.counts[rows], targets=self.targets[rows])


def train(counts: Any, targets: IntArray, num_styles: int, seed: int) -> tuple[IntArray, LinearModel, Setting]:
    """Learn to tell styles apart.

    Two linear support vector machines, one on words and one on character n-grams, are averaged. Their features are
    scaled, either by the log-ratio of a feature's share in a style to its share in the other styles (root mean square
    over the styles; NB-SVM for two styles) or by inverse document frequency. Cross-validation within these captions
    chooses this and the regularisation: the first of ``SETTINGS`` whose accuracy is within one standard error of the
    best. The margins are then stretched so that their softmax fits captions that were held out. Every style counts
    the same in all of this, however many captions it has: none is named more often because it is frequent.

    Args:
        counts: What ``count_features`` gives. Shape (N, 2 * BUCKETS).
        targets: Style of each caption; each of 0..num_styles - 1 occurs. Shape (N,).
        num_styles: S, at least two.
        seed: Of the folds, and of the order in which the solver visits the captions.

    Returns:
        The columns of ``counts`` that occur, ascending; the model over these columns; the setting chosen.

    Source:
        NB-SVM: Wang and Manning 2012, https://aclanthology.org/P12-2018. One standard error: Breiman et al. 1984,
        Classification and Regression Trees. Stretching: Guo et al. 2017, arXiv:1706.04599, with Platt's (1999)
        smoothed targets.
    """
    columns = np.unique(counts.indices).astype(np.int64)
    num_word_columns = int(np.searchsorted(columns, BUCKETS))
    examples = _Examples(counts[:, columns].astype(np.float64), num_word_columns, targets, num_styles)
    setting = _choose_setting(examples, seed)
    model = _fit(examples, setting, seed)
    temperature = _temperature(examples, setting, seed)
    return columns, LinearModel(model.weights * temperature, model.intercepts * temperature), setting


def _choose_setting(examples: _Examples, seed: int) -> Setting:
    sample = _sample(examples, seed)
    folds = _deal_folds(sample.targets, seed)
    held_out = folds >= 0
    right = np.zeros((len(SETTINGS), len(folds)))
    for fold in range(FOLDS):
        learnt, test = sample.pick(folds != fold), sample.pick(folds == fold)
        for row, setting in enumerate(SETTINGS):
            margins = _fit(learnt, setting, seed).margins(test.counts)
            right[row, folds == fold] = margins.argmax(axis=1) == test.targets
    weights = _equal_shares(sample.targets[held_out])
    accuracies = right[:, held_out] @ weights
    best = min(accuracies.max(), 1.0)  # Rounding can put a sum of shares above 1.
    standard_error = math.sqrt(best * (1 - best) * (weights**2).sum())
    return SETTINGS[int(np.argmax(accuracies >= best - standard_error))]


def _sample(examples: _Examples, seed: int) -> _Examples:
    """Some of the styles, and about as many captions of each as of the others."""
    num_styles = min(examples.num_styles, _MAX_STYLES_TO_CHOOSE)
    chosen = np.random.default_rng(seed).permutation(examples.num_styles)[:num_styles]
    numbers = np.full(examples.num_styles, -1)
    numbers[chosen] = np.arange(num_styles)
    few = _shuffled_ranks(examples.targets, seed) < _MAX_CAPTIONS_TO_CHOOSE // num_styles
    sample = examples.pick(few & (numbers[examples.targets] >= 0))
    return sample._replace(targets=numbers[sample.targets], num_styles=num_styles)


def _deal_folds(targets: IntArray, seed: int) -> IntArray:
    """Fold of each caption, spread evenly over the styles; -1 for one caption of each style, which is always learnt."""
    ranks = _shuffled_ranks(targets, seed)
    return np.where(ranks == 0, -1, ranks % FOLDS)


def _shuffled_ranks(targets: IntArray, seed: int) -> IntArray:
    """Place of each caption among its style's, from 0, in random order."""
    order = np.random.default_rng(seed).permutation(len(targets))
    by_style = order[np.argsort(targets[order], kind="stable")]
    ranks = np.empty(len(targets), dtype=np.int64)
    ranks[by_style] = np.arange(len(targets)) - np.searchsorted(targets[by_style], targets[by_style])
    return ranks


def _equal_shares(targets: IntArray) -> FloatArray:
    """Weight of each caption, such that every style that occurs has the same weight in all; they sum to 1."""
    _, which, sizes = np.unique(targets, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(sizes) * sizes[which]))


def _fit(examples: _Examples, setting: Setting, seed: int) -> LinearModel:
    at = examples.num_word_columns
    parts = [_fit_part(examples, part, setting, seed) for part in (examples.counts[:, :at], examples.counts[:, at:])]
    return LinearModel(
        np.concatenate([part.weights for part in parts]) / len(parts),
        np.mean([part.intercepts for part in parts], axis=0),
    )


def _fit_part(examples: _Examples, counts: Any, setting: Setting, seed: int) -> LinearModel:
    from sklearn.svm import LinearSVC

    scale = _log_ratios(examples, counts) if setting.weighting == "log-ratio" else _inverse_document_frequency(counts)
    scaled = counts.copy()
    scaled.data *= scale[scaled.indices]
    # A caption's mean length is 1, so that one C means the same for words and for the many more character n-grams.
    length = math.sqrt(float(np.square(scaled.data).sum()) / len(examples.targets)) or 1.0
    scaled.data /= length
    # Closer solutions name the same styles and take twice as long.
    machine = LinearSVC(C=setting.strength, class_weight="balanced", tol=1e-2, random_state=seed)
    machine.fit(scaled, examples.targets)
    weights, intercepts = machine.coef_.T * (scale / length)[:, None], machine.intercept_
    if examples.num_styles == 2:  # One margin, of the second style against the first.
        halves = np.array([-0.5, 0.5])
        weights, intercepts = weights * halves, intercepts * halves
    return LinearModel(weights, intercepts)


def _log_ratios(examples: _Examples, counts: Any) -> FloatArray:
    totals = _sum_columns(counts)
    squares = np.zeros(len(totals))
    for style in range(examples.num_styles):
        rows = examples.targets == style
        inside = _sum_columns(counts[rows])
        outside = totals - inside
        # Add-one smoothing, but in proportion to the captions: a rare style's features would weigh more otherwise.
        inside += examples.num_styles * rows.mean()
        outside += examples.num_styles * (1 - rows.mean())
        squares += np.log(inside / inside.sum() / (outside / outside.sum())) ** 2
    return np.sqrt(squares / examples.num_styles)


def _inverse_document_frequency(counts: Any) -> FloatArray:
    documents = np.bincount(counts.indices, minlength=counts.shape[1])
    return np.asarray(np.log(counts.shape[0] / np.maximum(documents, 1)) + 1)


def _sum_columns(counts: Any) -> FloatArray:
    return np.asarray(counts.sum(axis=0), dtype=np.float64)


def _temperature(examples: _Examples, setting: Setting, seed: int) -> float:
    """The factor of the margins that makes captions of a fold that is not learnt most likely."""
    from scipy.optimize import minimize_scalar
    from scipy.special import logsumexp

    folds = _deal_folds(examples.targets, seed)
    test = examples.pick(folds == 1)
    if not len(test.targets):
        return 1.0
    margins = _fit(examples.pick(folds != 1), setting, seed).margins(test.counts)
    right = margins[np.arange(len(margins)), test.targets]
    # Without it, a fold without mistakes would ask for an infinite factor.
    smoothing = 1 / (len(margins) + 2)
    wanted = (1 - smoothing) * right + smoothing * margins.mean(axis=1)

    weights = _equal_shares(test.targets)

    def loss(log_factor: float) -> float:
        factor = math.exp(log_factor)
        return float(weights @ (logsumexp(factor * margins, axis=1) - factor * wanted))

    low, high = map(math.log, _TEMPERATURES)
    return math.exp(minimize_scalar(loss, bounds=(low, high), method="bounded").x)
