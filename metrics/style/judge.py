"""Are captions in the style that was asked for? A classifier learns the styles and tells how well it can know."""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from metrics.scores.examples import check_same_ids
from metrics.style.features import BUCKETS, count_features
from metrics.style.language_model import NgramLanguageModel
from metrics.style.training import LinearModel, train
from utils.io import write_bytes

FloatArray = NDArray[np.float64]

_FORMAT = "stylecap style classifier 1"
"""Another number if the features change, which the weights of older files would not fit."""
_READ_ERRORS = (ValueError, TypeError, LookupError, OSError, EOFError, zipfile.BadZipFile, zlib.error)


class StyleClassifier:
    """Linear classifier of captions into styles, on hashed n-grams of words and of characters.

    The same captions and seed give the same classifier, and the probabilities of a caption do not depend on the
    captions beside it.

    Attributes:
        styles: Names of the styles that it can name, sorted.
        description: How it was trained.
    """

    def __init__(self, styles: Sequence[str], columns: NDArray[np.int64], model: LinearModel, description: str) -> None:
        """Use ``fit`` or ``load``.

        Args:
            styles: S names.
            columns: Features that the model knows, ascending. Shape (F,).
            model: Over these features.
            description: How it was trained.
        """
        self.styles = tuple(styles)
        self.description = description
        self._columns = columns
        self._model = LinearModel(model.weights.astype(np.float32), model.intercepts.astype(np.float32))

    @classmethod
    def fit(cls, captions_by_style: Mapping[str, Sequence[str]], *, seed: int = 0) -> StyleClassifier:
        """Learn the styles.

        Args:
            captions_by_style: Tokenised captions. Empty ones teach nothing, and a style without any other is left out.
            seed: Of the folds of cross-validation and of the solver.

        Raises:
            ValueError: If there is no caption with a word.
        """
        learnt = {style: [text for text in captions_by_style[style] if text.strip()] for style in captions_by_style}
        styles = sorted(style for style, captions in learnt.items() if captions)
        if not styles:
            raise ValueError(f"none of the {len(learnt)} styles has a caption with a word to learn from.")
        captions = [text for style in styles for text in learnt[style]]
        if len(styles) == 1:
            return cls(styles, np.zeros(0, dtype=np.int64), LinearModel(np.zeros((0, 1)), np.zeros(1)), "one style")
        targets = np.repeat(np.arange(len(styles)), [len(learnt[style]) for style in styles])
        columns, model, setting = train(count_features(captions), targets, len(styles), seed)
        description = (
            "mean of linear SVMs on words and word pairs and on character 3- to 5-grams, "
            f"{setting.weighting} weights, C {setting.strength:g}"
        )
        return cls(styles, columns, model, description)

    def probabilities(self, captions: Sequence[str]) -> FloatArray:
        """How likely each caption is in each style.

        Args:
            captions: Tokenised captions. What "" gets says nothing: count or reward empty captions by another rule.

        Returns:
            Shape (N, S) in the order of ``styles``; rows sum to 1.
        """
        margins = self._margins(captions)
        odds = np.exp(margins - margins.max(axis=1, keepdims=True))
        return np.asarray(odds / odds.sum(axis=1, keepdims=True))

    def predict(self, captions: Sequence[str]) -> list[str]:
        """The likeliest style of each caption, the first of equals."""
        return [self.styles[column] for column in self._margins(captions).argmax(axis=1)]

    def save(self, path: Path) -> None:
        """Write arrays (``.npz``), at once: readers see the old file or the new one, never a part."""
        # Names as JSON, since numpy's own strings lose zeros at their end.
        header = json.dumps({"format": _FORMAT, "styles": self.styles, "description": self.description})
        buffer = io.BytesIO()
        np.savez(buffer, header=np.array(header), columns=self._columns, **self._model._asdict())
        write_bytes(path, buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> StyleClassifier:
        """Read what ``save`` wrote; nothing in the file is executed.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is not a style classifier of this version, or damaged.
        """
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; save a style classifier there first.")
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file["header"]))
                columns, model = file["columns"], LinearModel(file["weights"], file["intercepts"])
            if header["format"] != _FORMAT:
                raise ValueError(f"its format is {header['format']!r}")
            _check_arrays(columns, model, len(header["styles"]))
            return cls(header["styles"], columns, model, header["description"])
        except _READ_ERRORS as error:
            raise ValueError(f"{path}: not a {_FORMAT}, or damaged ({error}); train and save it again.") from error

    def _margins(self, captions: Sequence[str]) -> FloatArray:
        counts = count_features(captions)[:, self._columns]
        return self._model.margins(counts).astype(np.float64)


def _check_arrays(columns: NDArray[np.int64], model: LinearModel, num_styles: int) -> None:
    shapes = columns.shape, model.weights.shape, model.intercepts.shape
    if shapes != ((columns.size,), (columns.size, num_styles), (num_styles,)) or num_styles < 1:
        raise ValueError(f"its arrays have the shapes {shapes} for {num_styles} styles")
    if columns.dtype.kind != "i" or columns.size and not 0 <= columns.min() <= columns.max() < 2 * BUCKETS:
        raise ValueError("it has features that do not exist")


def judge_style(
    train_captions: Mapping[str, Sequence[str]],
    references: Mapping[str, Sequence[str]],
    hypotheses: Mapping[str, str],
    styles: Mapping[str, str],
) -> tuple[dict[str, Any], dict[str, str]]:
    """Tell how often captions are in the style asked for, and how often the judge would say so of human captions.

    The judge learns from ``train_captions`` alone, so that the references are held out; a human caption that stands in
    both counts like any other. An empty caption is in no style: it is wrong, and in no column of the confusion.

    Args:
        train_captions: Tokenised captions by style.
        references: Tokenised human captions by example_id, at least one each.
        hypotheses: Tokenised caption to judge by example_id; may be empty.
        styles: Style asked for by example_id.

    Returns:
        First, ``accuracy`` (share of hypotheses judged to be in the style asked for) and ``judge_accuracy`` (the same
        of the references; those of one example weigh as much as its hypothesis, so that the two are comparable),
        ``chance`` (share of the most frequent style), ``judge`` (its description),
        ``train_captions`` and ``held_out_captions`` (numbers of captions), ``per_style`` (by style ``accuracy``,
        ``judge_accuracy``, ``n`` and the ``perplexity`` and ``reference_perplexity`` of the style's hypotheses and
        references under a 3-gram model of its training captions) and ``confusion`` (``styles``, and ``counts`` with a
        row for each style asked for and a column for each style judged). {} if fewer than two styles have training
        captions. Second, the reason for everything that is missing.

    Raises:
        ValueError: If the ids of the three mappings differ, or there are none.
    """
    check_same_ids(references, hypotheses, "hypothesis")
    check_same_ids(references, styles, "style")
    if not references:
        raise ValueError("no captions to judge: references and hypotheses are empty.")
    learnt = sorted(style for style, captions in train_captions.items() if any(text.strip() for text in captions))
    if len(learnt) < 2:
        return {}, {
            "style": f"a judge needs training captions of two styles; there are {len(learnt)} ({', '.join(learnt)})"
        }
    judge = StyleClassifier.fit(train_captions)
    asked = _judge(judge, {key: [hypotheses[key]] for key in references}, styles)
    human = _judge(judge, references, styles)
    sizes = Counter(row.style for row in asked)
    per_style: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for style, n in sizes.items():
        hypotheses_of, references_of = ([row for row in rows if row.style == style] for rows in (asked, human))
        per_style[style] = {"accuracy": _accuracy(hypotheses_of), "judge_accuracy": _accuracy(references_of), "n": n}
        per_style[style] |= _perplexities(train_captions.get(style, ()), hypotheses_of, references_of)
        if style not in judge.styles:
            missing[f"style/{style}"] = "no training caption in this style: the judge cannot name it"
    results = {
        "accuracy": _accuracy(asked),
        "judge_accuracy": _accuracy(human),
        "chance": max(sizes.values()) / len(asked),
        "judge": judge.description,
        "train_captions": sum(map(len, train_captions.values())),
        "held_out_captions": len(human),
        "per_style": per_style,
        "confusion": _confusion(asked, sorted({*sizes, *judge.styles})),
    }
    return results, missing


class _Judged(NamedTuple):
    """A caption with the style asked for and the one it is in, None for an empty caption."""

    style: str
    caption: str
    judged: str | None
    weight: float
    """1 over the captions of its example."""


def _judge(judge: StyleClassifier, captions: Mapping[str, Sequence[str]], styles: Mapping[str, str]) -> list[_Judged]:
    judged = iter(judge.predict([text for texts in captions.values() for text in texts]))
    return [
        _Judged(styles[key], text, found if text.strip() else None, 1 / len(texts))
        for key, texts in captions.items()
        for text, found in zip(texts, judged, strict=False)
    ]


def _accuracy(rows: Sequence[_Judged]) -> float:
    return math.fsum(row.weight for row in rows if row.judged == row.style) / math.fsum(row.weight for row in rows)


def _perplexities(
    train_captions: Sequence[str], hypotheses: Sequence[_Judged], references: Sequence[_Judged]
) -> dict[str, float | None]:
    if not train_captions:
        return {"perplexity": None, "reference_perplexity": None}
    model = NgramLanguageModel.fit(train_captions)
    return {
        "perplexity": model.perplexity([row.caption for row in hypotheses]),
        "reference_perplexity": model.perplexity([row.caption for row in references]),
    }


def _confusion(rows: Sequence[_Judged], styles: Sequence[str]) -> dict[str, Any]:
    counts = Counter((row.style, row.judged) for row in rows)
    return {"styles": list(styles), "counts": [[counts[style, judged] for judged in styles] for style in styles]}
