from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.rouge.rouge import Rouge

from metrics.scores.rouge import positions_by_word, rouge_l
from utils.io import read_json

# Few words, so that they repeat; the last one is one word, since only spaces separate words here.
CAPTION = st.lists(st.sampled_from(["a", "dog", "red", "1\xa0/2"]), max_size=9).map(" ".join)
WORDS = CAPTION.filter(bool)


def official(references, hypotheses):
    gts = {row: list(texts) for row, texts in enumerate(references)}
    return Rouge().compute_score(gts, {row: [text] for row, text in enumerate(hypotheses)})[1]


def test_positions_by_word_repeated_word_has_a_bit_for_each_place():
    assert positions_by_word(["a", "dog", "a"]) == {"a": 0b101, "dog": 0b010}


def test_rouge_l_takes_the_best_precision_and_the_best_recall_of_different_references():
    # Against the first: 2 words in common, precision 2/3, recall 2/5. Against the second: precision 1/3, recall 1/1.
    expected = (1 + 1.44) * (2 / 3) * 1 / (1 + 1.44 * 2 / 3)

    assert rouge_l([["a dog runs so fast", "dog"]], ["dog sleeps fast"]) == pytest.approx([expected], abs=1e-15)


def test_rouge_l_words_in_another_order_count_once():
    # "a b" or "b a" or "c", never three: precision 1/3, recall 1/3.
    assert rouge_l([["c b a"]], ["a b c"]) == pytest.approx([1 / 3], abs=1e-15)


def test_rouge_l_empty_hypothesis_scores_zero_even_against_an_empty_reference():
    assert rouge_l([["a dog", ""], [""]], ["", ""]).tolist() == [0.0, 0.0]


def test_rouge_l_caption_of_more_words_than_a_machine_word_has_bits():
    # All words of the hypothesis, in order, with a word between each two.
    hypothesis = [f"w{place}" for place in range(150)]
    reference = " x ".join(hypothesis)

    recall = 150 / 299
    assert rouge_l([[reference]], [" ".join(hypothesis)]) == pytest.approx([2.44 * recall / (recall + 1.44)], abs=1e-15)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.lists(CAPTION, min_size=1, max_size=4), WORDS), min_size=1, max_size=4))
def test_rouge_l_any_captions_equals_pycocoevalcap(examples):
    references, hypotheses = zip(*examples, strict=True)

    np.testing.assert_allclose(rouge_l(references, hypotheses), official(references, hypotheses), rtol=0, atol=1e-12)


def test_rouge_l_coco_example_equals_pycocoevalcap(shared):
    folder = shared / "data" / "coco_fakecap"
    references = list(read_json(folder / "en_captions_val2014_references_after_tokenization.json").values())
    results = read_json(folder / "en_captions_val2014_results_after_tokenization.json").values()
    hypotheses = [texts[0] for texts in results]

    np.testing.assert_allclose(rouge_l(references, hypotheses), official(references, hypotheses), rtol=0, atol=1e-12)
