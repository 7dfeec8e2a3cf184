"""CIDEr and CIDEr-D of tokenised captions, vectorised, equal to the published scorers.

    references = PreparedReferences([["a dog runs", "the dog is running"], ["two men"]], document_frequency)
    references.score(["a dog", "a dog runs", "men"], rows=[0, 0, 1])

Source:
    Vedantam et al. 2015, arXiv:1411.5726. What pycocoevalcap calls ``Cider`` is the paper's CIDEr-D (clipped counts,
    penalty on length) and the same formula as ``modelscope.metrics.ciderD`` and self-critical.pytorch's ``ciderD``;
    they differ only in whose document frequencies weigh the n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.document_frequency import DocumentFrequency, flatten_references, inverse_document_frequency
from metrics.ngrams import MAX_NGRAM, CaptionNgrams, DocumentNgrams, FloatArray, IntArray

SIGMA = 6.0
"""Words of length difference at which the Gaussian penalty is exp(-1/2)."""


def cider(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> FloatArray:
    """What pycocoevalcap 1.2's ``Cider`` gives for each caption; the corpus score is the mean.

    Document frequencies are counted over these references, one image being one document. A single image scores 0,
    since all its words are in every document.

    Args:
        references: Human captions of each image, tokenised; at least one each.
        hypotheses: The caption of each image, tokenised; "" scores 0.

    Returns:
        Scores in [0, 10]. Shape (number of images,).

    Raises:
        ValueError: If the numbers of both differ, there are none, or an image has no references.
    """
    return cider_d(references, hypotheses)


def cider_d(
    references: Sequence[Sequence[str]],
    hypotheses: Sequence[str],
    document_frequency: DocumentFrequency | None = None,
) -> FloatArray:
    """What ``CiderD`` of modelscope and self-critical.pytorch gives for each hypothesis.

    Without document frequencies (their ``df='corpus'``) this is ``cider``. As there, every hypothesis brings its
    references as a document of its own: several hypotheses for one image count this image several times. Use
    ``PreparedReferences`` to count it once.

    Args:
        references: Human captions for each hypothesis, tokenised; at least one each.
        hypotheses: Tokenised; "" scores 0 (but see ``DocumentFrequency.eos``).
        document_frequency: Of another corpus, such as the training captions; None counts over ``references``.

    Returns:
        Scores in [0, 10]. Shape (number of hypotheses,).

    Raises:
        ValueError: If the numbers of both differ, there are none, or references are missing.
    """
    return PreparedReferences(references, document_frequency).score(hypotheses)


class PreparedReferences:
    """References of many images, weighted once, to score hypotheses against again and again.

    Nothing changes after construction: threads may share one object. Memory grows with the number of words.
    """

    def __init__(
        self, references: Sequence[Sequence[str]], document_frequency: DocumentFrequency | None = None
    ) -> None:
        """Count and weigh the n-grams of the references.

        Args:
            references: Human captions of each image, tokenised; at least one each.
            document_frequency: Of another corpus, such as the training captions; its ``eos`` is appended to references
                and hypotheses. None counts over ``references``, one image being one document.

        Raises:
            ValueError: If there are no images, or an image has no references.
        """
        captions, self._sizes = flatten_references(references)
        self._eos = None if document_frequency is None else document_frequency.eos
        ngrams = CaptionNgrams(captions, self._eos)
        self._tree, self._captions, self._counts = ngrams.tree, ngrams.captions, ngrams.counts
        self._groups = DocumentNgrams(ngrams, np.repeat(np.arange(len(references)), self._sizes))
        if document_frequency is None:
            weighed, found = ngrams.tree, np.arange(ngrams.tree.size)
            self._idf = inverse_document_frequency(self._groups.count(ngrams.tree.size), len(references))
        else:
            weighed, found = document_frequency.tree, document_frequency.tree.find(ngrams.tree)
            self._idf = document_frequency.idf
        self._weighed = weighed
        self._ranks: IntArray | None = None
        if found.min(initial=0) >= 0:
            self._ranks = np.full(weighed.size + 1, -1)
            self._ranks[found] = np.arange(len(found))
        self._norms = _norms(ngrams, self._idf[found])
        self._lengths = _lengths(ngrams)

    def score(self, hypotheses: Sequence[str], rows: Sequence[int] | None = None) -> FloatArray:
        """CIDEr-D of captions.

        Args:
            hypotheses: Tokenised; "" scores 0 (but see ``DocumentFrequency.eos``).
            rows: For each hypothesis the position of its references; several may share one. None: one hypothesis for
                each image, in order.

        Returns:
            Scores in [0, 10]. Shape (number of hypotheses,).

        Raises:
            ValueError: If ``rows`` does not name an image for every hypothesis.
        """
        images = self._images(len(hypotheses), rows)
        if not len(hypotheses):
            return np.zeros(0)
        own = CaptionNgrams(hypotheses, self._eos)
        weighed = self._weighed.find(own.tree)
        known = self._tree.find(own.tree) if self._ranks is None else self._ranks[weighed]
        idf = self._idf[weighed]
        norms = _norms(own, idf)
        # Pairs of an entry of a hypothesis and one of its references that have the same n-gram.
        mine, theirs = self._groups.find(known[own.ranks], images[own.captions])

        ranks, owners = own.ranks[mine], own.captions[mine]
        captions, counts = self._captions[theirs], self._counts[theirs]
        orders = own.tree.orders[ranks]
        terms = np.minimum(own.counts[mine], counts) * counts * idf[ranks] ** 2
        scale = norms[owners * MAX_NGRAM + orders] * self._norms[captions * MAX_NGRAM + orders]
        np.divide(terms, scale, out=terms, where=terms > 0)
        terms *= np.exp((_lengths(own)[owners] - self._lengths[captions]) ** 2 / (-2 * SIGMA**2))
        totals = np.bincount(owners, terms, len(hypotheses))
        return 10 * totals / (MAX_NGRAM * self._sizes[images])

    def _images(self, num_hypotheses: int, rows: Sequence[int] | None) -> IntArray:
        num_images = len(self._sizes)
        images = np.arange(num_images) if rows is None else np.asarray(rows, dtype=np.int64)
        if images.shape != (num_hypotheses,):
            raise ValueError(
                f"{num_hypotheses} hypotheses, but {'references of' if rows is None else 'rows for'} {images.size}; "
                "each hypothesis needs one row."
            )
        if ((images < 0) | (images >= num_images)).any():
            raise ValueError(f"rows from {images.min()} to {images.max()}; there are references 0 to {num_images - 1}.")
        return images


def _lengths(ngrams: CaptionNgrams) -> IntArray:
    # The official scorers measure length in bigrams, not words. Kept: scores must match published CIDEr-D.
    return np.maximum(ngrams.lengths - 1, 0)


def _norms(ngrams: CaptionNgrams, idf: FloatArray) -> FloatArray:
    """Length of the tf-idf vector of each caption and n, at position ``4 * caption + n - 1``."""
    values = idf[ngrams.ranks]
    values *= ngrams.counts
    values *= values
    segments = ngrams.captions * MAX_NGRAM
    segments += ngrams.tree.orders[ngrams.ranks]
    return np.sqrt(np.bincount(segments, values, MAX_NGRAM * len(ngrams.lengths)))
