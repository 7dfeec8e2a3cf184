"""CIDEr and CIDEr-D of tokenised captions, vectorised, equal to the published scorers.

    references = PreparedReferences([["a dog runs", "the dog is running"], ["two men"]], document_frequency)
    references.score(["a dog", "a dog runs", "men"], rows=[0, 0, 1])

Document frequencies for rewards come from captions in one command, which ``metrics.build_df`` explains:

    python -m metrics.cider build-df --references train.json --out df.npz

Source:
    Vedantam et al. 2015, arXiv:1411.5726. What pycocoevalcap calls ``Cider`` is the paper's CIDEr-D (clipped counts,
    penalty on length) and the same formula as ``modelscope.metrics.ciderD`` and self-critical.pytorch's ``ciderD``;
    they differ only in whose document frequencies weigh the n-grams.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from metrics.scores.document_frequency import DocumentFrequency, flatten_references, inverse_document_frequency
from metrics.scores.measurement import Measurement, MetricUnavailable, at_once
from metrics.scores.ngrams import MAX_NGRAM, CaptionNgrams, DocumentNgrams, FloatArray, IntArray, differs, repeat_ranges

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
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} lists of references for {len(hypotheses)} hypotheses; give one for each.")
    _, sizes = flatten_references(references)
    captions = [text for texts, own in zip(references, hypotheses, strict=True) for text in (*texts, own)]
    images = np.repeat(np.arange(len(sizes)), sizes + 1)
    is_hypothesis = np.append(np.diff(images) > 0, True)
    ngrams = CaptionNgrams(captions, None if document_frequency is None else document_frequency.eos)

    tree, bounds, lengths = ngrams.tree, ngrams.tree.bounds, _lengths(ngrams)
    idf = (
        np.empty(tree.size)
        if document_frequency is None
        else document_frequency.idf[document_frequency.tree.find(tree)]
    )
    totals = np.zeros(len(captions))
    for n, (ranks, owners, counts) in enumerate(ngrams.by_order):
        # A group is an n-gram in the captions of one image; its hypothesis comes after its references.
        firsts = np.flatnonzero(differs(ranks) | differs(images[owners]))
        lasts = np.append(firsts, len(ranks))[1:] - 1
        in_hypothesis = is_hypothesis[owners[lasts]]
        num_references = lasts - firsts + ~in_hypothesis
        if document_frequency is None:
            documents = np.bincount(ranks[firsts[num_references > 0]], minlength=bounds[n + 1])[bounds[n] :]
            idf[bounds[n] : bounds[n + 1]] = inverse_document_frequency(documents, len(sizes))[:-1]
        norms = _norms(idf[ranks], counts, owners, len(captions))
        both = np.flatnonzero(in_hypothesis & (num_references > 0))
        mine, theirs = repeat_ranges(lasts[both], firsts[both], num_references[both])
        terms = _terms(counts[mine], counts[theirs], idf[ranks[mine]], norms[owners[mine]] * norms[owners[theirs]])
        terms *= _penalties(lengths[owners[mine]], lengths[owners[theirs]])
        totals += np.bincount(owners[mine], weights=terms, minlength=len(captions))
    scores: FloatArray = 10 * totals[is_hypothesis] / (MAX_NGRAM * sizes)
    return scores


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
        entries, self._tree = ngrams.entries, ngrams.tree
        images = np.repeat(np.arange(len(references)), self._sizes)
        self._groups = DocumentNgrams(entries, images, ngrams.tree.size)
        if document_frequency is None:
            self._weighed, found = ngrams.tree, np.arange(ngrams.tree.size)
            self._idf = inverse_document_frequency(self._groups.document_counts, len(references))
        else:
            self._weighed, found = document_frequency.tree, document_frequency.tree.find(ngrams.tree)
            self._idf = document_frequency.idf
        self._ranks: IntArray | None = None
        if (found >= 0).all():
            # Every n-gram here has a weight, as in rewards: who has looked up the weight need not look here as well.
            self._ranks = np.full(self._weighed.size + 1, -1)
            self._ranks[found] = np.arange(len(found))
        segments = entries.captions * MAX_NGRAM + ngrams.tree.orders[entries.ranks]
        self._norms = _norms(self._idf[found][entries.ranks], entries.counts, segments, MAX_NGRAM * len(captions))
        self._lengths = _lengths(ngrams)

    def score(
        self, hypotheses: Sequence[str], rows: Sequence[int] | None = None, ended: Sequence[bool] | None = None
    ) -> FloatArray:
        """CIDEr-D of captions.

        Args:
            hypotheses: Tokenised; "" scores 0 (but see ``DocumentFrequency.eos``).
            rows: For each hypothesis the position of its references; several may share one. None: one hypothesis for
                each image, in order.
            ended: True for each hypothesis that gets the document frequencies' ``eos``, which a caption that was cut
                off must not have. None: all of them.

        Returns:
            Scores in [0, 10]. Shape (number of hypotheses,).

        Raises:
            ValueError: If ``rows`` does not name an image for every hypothesis, or ``ended`` has another length.
        """
        images = self._images(len(hypotheses), rows)
        ngrams = self._ngrams(hypotheses, ended)
        own, orders, lengths = ngrams.entries, ngrams.tree.orders, _lengths(ngrams)
        weighed = self._weighed.find(ngrams.tree)
        known = self._tree.find(ngrams.tree) if self._ranks is None else self._ranks[weighed]
        idf = self._idf[weighed][own.ranks]
        # Norms stand by caption, then n.
        segments = own.captions * MAX_NGRAM + orders[own.ranks]
        norms = _norms(idf, own.counts, segments, MAX_NGRAM * len(hypotheses))

        # Pairs of the same n-gram in a hypothesis and in one of its references.
        mine, theirs = self._groups.find(images[own.captions], known[own.ranks])
        captions, owners = self._groups.captions[theirs], own.captions[mine]
        scale = norms[segments[mine]] * self._norms[captions * MAX_NGRAM + segments[mine] % MAX_NGRAM]
        terms = _terms(own.counts[mine], self._groups.counts[theirs], idf[mine], scale)
        terms *= _penalties(lengths[owners], self._lengths[captions])
        totals = np.bincount(owners, weights=terms, minlength=len(hypotheses))
        return 10 * totals / (MAX_NGRAM * self._sizes[images])

    def _ngrams(self, hypotheses: Sequence[str], ended: Sequence[bool] | None) -> CaptionNgrams:
        if ended is None or self._eos is None:
            return CaptionNgrams(hypotheses, self._eos)
        if len(ended) != len(hypotheses):
            raise ValueError(f"{len(hypotheses)} hypotheses, but ended tells of {len(ended)}; it must tell of each.")
        return CaptionNgrams(
            [f"{text} {self._eos}" if has_ended else text for text, has_ended in zip(hypotheses, ended, strict=True)]
        )

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


def _norms(idf: FloatArray, counts: IntArray, segments: NDArray[np.int32], size: int) -> FloatArray:
    """Lengths of ``size`` tf-idf vectors, from the weights and counts of entries and the vector that each is in."""
    values = idf * counts
    values *= values
    return np.sqrt(np.bincount(segments, weights=values, minlength=size))


def _terms(own: IntArray, theirs: IntArray, idf: FloatArray, scale: FloatArray) -> FloatArray:
    """What n-grams add to cosines, from counts in hypothesis and reference, their weights and both norms' products."""
    terms = np.minimum(own, theirs) * theirs * idf**2
    return np.divide(terms, scale, out=terms, where=terms > 0)  # Norms are 0 only where all weights are.


def _penalties(own: IntArray, theirs: IntArray) -> FloatArray:
    """Gaussian penalty on a difference of length."""
    return np.exp((own - theirs) ** 2 / (-2 * SIGMA**2))


def _measure(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> FloatArray:
    if len({tuple(texts) for texts in references}) == 1:
        raise MetricUnavailable(
            "CIDEr weighs words by the pictures whose references have them, so it is 0 for whatever is said of one "
            "picture alone, or of pictures whose references are all the same; score more pictures together, or give "
            "the document frequencies of another corpus (--document-frequency of metrics.evaluate)"
        )
    return cider(references, hypotheses)


def _weighed_by(document_frequency: DocumentFrequency) -> Measurement:
    def measure(references: Sequence[Sequence[str]], hypotheses: Sequence[str]) -> FloatArray:
        return PreparedReferences(references, document_frequency).score(hypotheses)

    return Measurement("CIDEr", ("CIDEr",), at_once(measure))


CIDER = Measurement("CIDEr", ("CIDEr",), at_once(_measure), depends_on_corpus=True, weighed_by=_weighed_by)
