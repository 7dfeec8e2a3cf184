from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.scores.ngrams import CaptionNgrams, DocumentNgrams, Ngram, NgramTree, count_ngrams, sort_with

CAPTIONS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "\0", "\0\0", "é", "e\u0301", "狗", "\ud800"]), max_size=9).map(" ".join),
    max_size=8,
)


def names(tree: NgramTree) -> list[Ngram]:
    """The words of every n-gram, by rank."""
    found: list[Ngram] = [(word,) for word in tree.words]
    for edge in tree.edges[:-1].tolist():
        found.append(found[edge // len(tree.words)] + found[edge % len(tree.words)])
    return found


def test_count_ngrams_repeated_words_by_hand():
    assert count_ngrams("a b a b") == {
        ("a",): 2,
        ("b",): 2,
        ("a", "b"): 2,
        ("b", "a"): 1,
        ("a", "b", "a"): 1,
        ("b", "a", "b"): 1,
        ("a", "b", "a", "b"): 1,
    }


def test_caption_ngrams_by_hand():
    ngrams = CaptionNgrams(["b a b", "", "a"], eos=None)

    # Words are numbered as they come (b 0, a 1), then pairs by edge: b a = 0 * 2 + 1, a b = 1 * 2 + 0; then b a b.
    assert names(ngrams.tree) == [("b",), ("a",), ("b", "a"), ("a", "b"), ("b", "a", "b")]
    assert ngrams.tree.edges[:-1].tolist() == [1, 2, 2 * 2 + 0]
    assert ngrams.tree.orders.tolist() == [0, 0, 1, 1, 2]
    assert ngrams.lengths.tolist() == [3, 0, 1]
    assert ngrams.entries.ranks.tolist() == [0, 1, 1, 2, 3, 4]
    assert ngrams.entries.captions.tolist() == [0, 0, 2, 0, 0, 0]
    assert ngrams.entries.counts.tolist() == [2, 1, 1, 1, 1, 1]
    assert [len(entries.ranks) for entries in ngrams.by_order] == [3, 2, 1, 0]


@settings(max_examples=200, deadline=None)
@given(CAPTIONS, st.sampled_from([None, "<eos>", "a"]))
def test_caption_ngrams_any_captions_are_counted_as_tuples_are(captions, eos):
    ngrams = CaptionNgrams(captions, eos)

    named = names(ngrams.tree)
    found: list[Counter[Ngram]] = [Counter() for _ in captions]
    for rank, caption, count in zip(*ngrams.entries, strict=True):
        assert named[rank] not in found[caption]
        found[caption][named[rank]] = int(count)
    texts = captions if eos is None else [f"{caption} {eos}" for caption in captions]
    assert found == [count_ngrams(text) for text in texts]
    assert len(set(named)) == ngrams.tree.size == len(named)
    assert [len(ngram) - 1 for ngram in named] == ngrams.tree.orders.tolist()


@settings(max_examples=100, deadline=None)
@given(CAPTIONS, CAPTIONS)
def test_ngram_tree_find_gives_the_same_ngram_or_none(captions, others):
    tree, other = CaptionNgrams(captions).tree, CaptionNgrams(others).tree
    ranks = {ngram: rank for rank, ngram in enumerate(names(tree))}

    assert tree.find(other).tolist() == [ranks.get(ngram, -1) for ngram in names(other)]


def test_caption_ngrams_large_vocabulary_has_no_collisions():
    # Four of 80,000 words need 4 * 17 = 68 bits. Any two captions here share their last two words or nothing.
    captions = [f"w{i} x{i} y{i % 100} z{i % 100}" for i in range(40_000)]

    tree = CaptionNgrams(captions).tree

    assert np.diff(tree.bounds).tolist() == [80_200, 80_100, 80_000, 40_000]
    assert (tree.find(tree) == np.arange(tree.size)).all()
    assert tree.find(CaptionNgrams(["w7 x7 y7 z8"]).tree).tolist()[-2:] == [-1, -1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 2**63 - 1) | st.integers(0, 3)))
def test_sort_with_keys_of_any_size_as_a_stable_sort(keys):
    values = np.arange(5, 5 + 3 * len(keys), 3)

    sorted_keys, sorted_values = sort_with(np.array(keys, np.int64), values)

    expected = sorted(zip(keys, values.tolist(), strict=True))
    assert list(zip(sorted_keys.tolist(), sorted_values.tolist(), strict=True)) == expected


@pytest.fixture
def two_documents() -> tuple[CaptionNgrams, DocumentNgrams]:
    """Document 0 has the captions "a b" and "a", document 1 has "b a"."""
    ngrams = CaptionNgrams(["a b", "a", "b a"])
    return ngrams, DocumentNgrams(ngrams.entries, np.array([0, 0, 1]), ngrams.tree.size)


def test_document_ngrams_count_each_document_once(two_documents):
    ngrams, groups = two_documents

    counts = dict(zip(names(ngrams.tree), groups.document_counts.tolist(), strict=True))

    assert counts == {("a",): 2, ("b",): 2, ("a", "b"): 1, ("b", "a"): 1}


def test_document_ngrams_find_gives_all_captions_of_the_document(two_documents):
    ngrams, groups = two_documents
    pair = names(ngrams.tree).index(("b", "a"))

    # "a" in document 0, an unknown n-gram, "b a" in document 0 (which lacks it) and in document 1.
    positions, entries = groups.find(np.array([0, 0, 0, 1]), np.array([0, -1, pair, pair]))

    assert positions.tolist() == [0, 0, 3]
    assert groups.captions[entries].tolist() == [0, 1, 2]


def test_document_ngrams_without_words_find_nothing():
    groups = DocumentNgrams(CaptionNgrams(["", ""]).entries, np.array([0, 1]), size=0)

    assert [found.tolist() for found in groups.find(np.array([0]), np.array([-1]))] == [[], []]
    assert groups.document_counts.tolist() == []
