"""How much captions repeat themselves, each other and the training captions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from metrics.scores.bleu import bleu_from_statistics, bleu_statistics
from metrics.scores.ngrams import MAX_NGRAM, Ngram, count_ngrams


def caption_diversity(
    hypotheses: Mapping[str, str],
    images: Mapping[str, str],
    *,
    references: Mapping[str, Sequence[str]] | None = None,
    train_captions: Collection[str] | None = None,
) -> dict[str, float | None]:
    """Measure how much a set of captions repeats itself.

    Args:
        hypotheses: One tokenised caption by example_id; may be empty.
        images: Image by example_id. The captions of an image (its styles) are a set for ``mbleu_4`` and ``self_cider``.
        references: Tokenised human captions by example_id, in which the document frequencies of ``self_cider`` are
            counted; None counts in the hypotheses.
        train_captions: Tokenised training captions; None for unknown.

    Returns:
        ``distinct_1`` and ``distinct_2``: different unigrams (bigrams) over all of them. ``unique_captions``: different
        captions over all. ``mean_length``: words per caption. ``vocabulary``: different words. ``copied_share``:
        captions that are a training caption word for word, over all; None without training captions. ``mbleu_4``: mean
        over the sets of the mean Bleu_4 of a set's captions, each against the others as its references.
        ``self_cider``: mean over the sets. These two are None if no image has two captions. Shares and scores are in
        [0, 1] and 0 if there are no words; ``copied_share`` and ``mbleu_4`` are low for diverse captions, the others
        high.

    Source:
        Distinct-n: Li et al. 2016, arXiv:1510.03055. mBLEU: Shetty et al. 2017, arXiv:1703.10476.
    """
    captions = list(hypotheses.values())
    words = [caption.split() for caption in captions]
    unigrams = [word for row in words for word in row]
    bigrams = [pair for row in words for pair in zip(row, row[1:], strict=False)]
    single = {example_id: [caption] for example_id, caption in hypotheses.items()}
    sets = [texts for texts in _by_image(single, images) if len(texts) > 1]
    documents = _by_image(single if references is None else references, images) if sets else []
    document_frequency = Counter(ngram for texts in documents for ngram in set().union(*map(count_ngrams, texts)))
    return {
        "distinct_1": _distinct(unigrams),
        "distinct_2": _distinct(bigrams),
        "unique_captions": _distinct(captions),
        "mean_length": len(unigrams) / max(len(captions), 1),
        "vocabulary": len(set(unigrams)),
        "copied_share": None if train_captions is None else _copied_share(captions, train_captions),
        "mbleu_4": _mean([_mean_bleu_4(texts) for texts in sets]),
        "self_cider": _mean([self_cider(texts, document_frequency, len(documents)) for texts in sets]),
    }


def self_cider(captions: Sequence[str], document_frequency: Mapping[Ngram, int], num_documents: int) -> float:
    """How many different things the captions of one image say, 0 if all say the same, 1 if no two share an n-gram.

    The similarity of two captions is the cosine of their tf-idf vectors, averaged over n = 1..4: CIDEr without its
    factor of 10. The idf is ``log((num_documents + 1) / document_frequency)``; an n-gram of no document counts as if it
    were in one. CIDEr's own lacks the 1: what all images have would weigh nothing, so that a caption repeated for every
    image, or a single image, would have no similarities. With the eigenvalues l of the m captions' similarities, the
    result is ``-log_m(sqrt(max l) / sum sqrt(l))``.

    Args:
        captions: Tokenised captions of one image, at least two. Those without words add nothing.
        document_frequency: In how many documents (all captions of one image) an n-gram is.
        num_documents: Number of documents.

    Returns:
        In [0, 1]. Captions of fewer than four words weigh less, for they lack n-grams; 0 if there is no word at all.

    Source:
        Wang and Chan 2019, arXiv:1903.12020.
    """
    vectors = [_weigh(count_ngrams(caption), document_frequency, num_documents) for caption in captions]
    similarities = np.array([[_dot(first, second) for second in vectors] for first in vectors]) / MAX_NGRAM
    eigenvalues = np.linalg.eigvalsh(similarities)
    # The root would make 1e-8 of a rounding error of 1e-16.
    roots = np.sqrt(eigenvalues[eigenvalues > 1e-12])
    return math.log(roots.sum() / roots.max()) / math.log(len(captions)) if len(roots) else 0.0


def _by_image(captions: Mapping[str, Sequence[str]], images: Mapping[str, str]) -> list[list[str]]:
    """All captions of each image."""
    grouped: defaultdict[str, list[str]] = defaultdict(list)
    for example_id, texts in captions.items():
        grouped[images[example_id]] += texts
    return list(grouped.values())


def _weigh(
    counts: Mapping[Ngram, int], document_frequency: Mapping[Ngram, int], num_documents: int
) -> dict[Ngram, float]:
    """The tf-idf vector of each n, scaled to length 1."""
    weights = {
        ngram: count * math.log((num_documents + 1) / document_frequency.get(ngram, 1))
        for ngram, count in counts.items()
    }
    squares = [0.0] * (MAX_NGRAM + 1)
    for ngram, weight in weights.items():
        squares[len(ngram)] += weight * weight
    return {ngram: weight / math.sqrt(squares[len(ngram)]) for ngram, weight in weights.items()}


def _dot(first: Mapping[Ngram, float], second: Mapping[Ngram, float]) -> float:
    return sum(weight * second.get(ngram, 0.0) for ngram, weight in first.items())


def _mean_bleu_4(captions: Sequence[str]) -> float:
    others = [[*captions[:row], *captions[row + 1 :]] for row in range(len(captions))]
    return float(bleu_from_statistics(bleu_statistics(others, captions))[:, 3].mean())


def _copied_share(captions: Sequence[str], train_captions: Collection[str]) -> float:
    known = set(train_captions) - {""}
    return sum(caption in known for caption in captions) / max(len(captions), 1)


def _distinct(items: Sequence[object]) -> float:
    return len(set(items)) / max(len(items), 1)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
