from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu

from metrics.scores.bleu import bleu_from_statistics, bleu_statistics
from utils.io import read_json

# Few words, so that they repeat; the last one splits in two for BLEU.
CAPTION = st.lists(st.sampled_from(["a", "dog", "red", "1\xa0/2"]), max_size=9).map(" ".join)
EXAMPLE = st.tuples(st.lists(CAPTION, min_size=1, max_size=4), CAPTION)


def official(references, hypotheses):
    gts = {row: list(texts) for row, texts in enumerate(references)}
    res = {row: [text] for row, text in enumerate(hypotheses)}
    overall, per_example = Bleu(4).compute_score(gts, res, verbose=0)
    return np.array(overall), np.array(per_example).T


def test_bleu_statistics_repeated_words_count_as_often_as_the_best_reference_has_them():
    counted = bleu_statistics([["a dog and a dog", "dog a dog ran by me"]], ["a dog a dog a dog"])

    # a 2 of 3 (first reference), dog 2 of 3. "a dog" 2 of 3, "dog a" 1 of 2 (second). "dog a dog" 1 of 2, "a dog a" 0.
    # The hypothesis has 6 words: 5 and 6 are the lengths to choose from.
    assert counted.tolist() == [[4, 3, 1, 0, 6, 5, 4, 3, 6, 6]]


@pytest.mark.parametrize(("lengths", "nearest"), [([2, 6], 2), ([6, 2], 2), ([1, 5], 5)])
def test_bleu_statistics_two_lengths_as_near_take_the_shorter(lengths, nearest):
    assert bleu_statistics([["a " * length for length in lengths]], ["b b b b"])[0, 9] == nearest


def test_bleu_statistics_short_captions_have_no_long_ngrams():
    assert bleu_statistics([["a"], ["a"]], ["a", ""]).tolist() == [[1, 0, 0, 0, 1, 0, 0, 0, 1, 1], [0] * 9 + [1]]


def test_bleu_statistics_ngram_across_two_references_matches_nothing():
    assert bleu_statistics([["red dog", "runs fast"]], ["dog runs"])[0, :2].tolist() == [2, 0]


def test_bleu_from_statistics_by_hand():
    # Precisions 3/4, 2/3, 1/2, 1/1 and 4 words for 5.
    scores = bleu_from_statistics(np.array([3, 2, 1, 1, 4, 3, 2, 1, 4, 5]))

    brevity = math.exp(1 - 5 / 4)
    expected = [0.75, (0.75 * 2 / 3) ** (1 / 2), (0.75 * 2 / 3 / 2) ** (1 / 3), (0.75 * 2 / 3 / 2) ** (1 / 4)]
    assert scores == pytest.approx([brevity * value for value in expected], rel=1e-8)


@settings(max_examples=200, deadline=None)
@given(st.lists(EXAMPLE, min_size=1, max_size=5))
def test_bleu_any_captions_equals_pycocoevalcap(examples):
    references, hypotheses = zip(*examples, strict=True)
    counted = bleu_statistics(references, hypotheses)

    overall, per_example = official(references, hypotheses)
    np.testing.assert_allclose(bleu_from_statistics(counted.sum(axis=0)), overall, rtol=0, atol=1e-12)
    np.testing.assert_allclose(bleu_from_statistics(counted), per_example, rtol=0, atol=1e-12)


def test_bleu_coco_example_equals_pycocoevalcap(shared):
    folder = shared / "data" / "coco_fakecap"
    references = list(read_json(folder / "en_captions_val2014_references_after_tokenization.json").values())
    results = read_json(folder / "en_captions_val2014_results_after_tokenization.json").values()
    hypotheses = [texts[0] for texts in results]
    counted = bleu_statistics(references, hypotheses)

    overall, per_example = official(references, hypotheses)
    np.testing.assert_allclose(bleu_from_statistics(counted.sum(axis=0)), overall, rtol=0, atol=1e-12)
    np.testing.assert_allclose(bleu_from_statistics(counted), per_example, rtol=0, atol=1e-12)


def test_bleu_from_statistics_leading_axes_give_the_scores_of_each_row():
    generator = np.random.default_rng(0)
    totals = generator.integers(0, 20, (3, 5, 10))

    together = bleu_from_statistics(totals)

    assert together.shape == (3, 5, 4)
    for place in np.ndindex(3, 5):
        assert together[place].tolist() == bleu_from_statistics(totals[place]).tolist()
