from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu import Bleu

from metrics.style.diversity import caption_diversity, self_cider

CAPTION = st.lists(st.sampled_from(["a", "dog", "cat", "runs", "sits", "é"]), max_size=7).map(" ".join)
ONE_STYLE = ["a dog a dog", "a cat", "a cat", ""]


def one_image_each(captions: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    return {str(i): caption for i, caption in enumerate(captions)}, {str(i): f"{i}.jpg" for i in range(len(captions))}


def test_caption_diversity_by_hand():
    diversity = caption_diversity(*one_image_each(ONE_STYLE), train_captions=["a cat", "", "a dog"])

    # Words a dog a dog a cat a cat: 3 of 8. Bigrams (a dog) (dog a) (a dog) (a cat) (a cat): 3 of 5. Captions: 3 of 4.
    # Copied: "a cat" twice of 4; an empty caption copies nothing.
    assert diversity == {
        "distinct_1": 3 / 8,
        "distinct_2": 3 / 5,
        "unique_captions": 3 / 4,
        "mean_length": 2.0,
        "vocabulary": 3,
        "copied_share": 2 / 4,
        "mbleu_4": None,
        "self_cider": None,
    }


def test_caption_diversity_unknown_training_captions_are_none_and_none_are_zero():
    assert caption_diversity(*one_image_each(ONE_STYLE))["copied_share"] is None
    assert caption_diversity(*one_image_each(ONE_STYLE), train_captions=[])["copied_share"] == 0


@pytest.mark.parametrize("captions", [[], [""], ["", ""]])
def test_caption_diversity_without_words_is_zero(captions):
    diversity = caption_diversity(*one_image_each(captions), train_captions=["a dog"])

    names = ("distinct_1", "distinct_2", "mean_length", "vocabulary", "copied_share")
    assert [diversity[name] for name in names] == [0] * 5


def test_caption_diversity_mbleu_is_the_mean_over_images_of_the_mean_over_captions():
    sets = {"a.jpg": ["a dog runs in the snow", "a dog runs on the snow", "two dogs"], "b.jpg": ["a cat", "a cat"]}
    captions = {f"{image}#{i}": text for image, texts in sets.items() for i, text in enumerate(texts)}
    # A third image with one caption has no others to compare with.
    hypotheses = {**captions, "c.jpg#0": "a cow"}
    images = {example_id: example_id.partition("#")[0] for example_id in hypotheses}

    expected = []
    for texts in sets.values():
        others = {str(i): [other for j, other in enumerate(texts) if j != i] for i in range(len(texts))}
        alone = {str(i): [text] for i, text in enumerate(texts)}
        expected.append(np.mean(Bleu(4).compute_score(others, alone, verbose=0)[1][3]))
    assert caption_diversity(hypotheses, images)["mbleu_4"] == pytest.approx(np.mean(expected), abs=1e-12)


def test_self_cider_two_captions_by_hand():
    captions = ["a b c d", "a b c e"]

    # Every n-gram is in one of the documents and weighs log 2, so that tf-idf does not matter. In common are 3 of 4
    # words, 2 of 3 pairs, 1 of 2 triples, none of the fours: (3/4 + 2/3 + 1/2 + 0) / 4 = 23/48. The matrix
    # [[1, 23/48], [23/48, 1]] has the eigenvalues 1 + 23/48 and 1 - 23/48.
    large, small = math.sqrt(71 / 48), math.sqrt(25 / 48)
    expected = -math.log(large / (large + small), 2)
    assert self_cider(captions, {}, num_documents=1) == pytest.approx(expected, abs=1e-14)


def test_self_cider_weighs_ngrams_by_how_few_documents_have_them():
    captions = ["a dog", "a cat"]

    # Weights: "a" log(8/4) = 1 log 2, "dog" and "cat" log(8/1) = 3 log 2. Cosine of (1, 3, 0) and (1, 0, 3): 1/10.
    # The pairs have nothing in common, triples and fours do not exist: [[2, 1/10], [1/10, 2]] / 4.
    large, small = math.sqrt(2.1), math.sqrt(1.9)
    expected = -math.log(large / (large + small), 2)
    assert self_cider(captions, {("a",): 4}, num_documents=7) == pytest.approx(expected, abs=1e-14)


def test_caption_diversity_self_cider_counts_documents_by_image():
    hypotheses = {"1#x": "a dog", "1#y": "a cat", "2#x": "two cows", "3#x": "a cow"}
    images = {example_id: example_id[0] for example_id in hypotheses}
    references = {"1#x": ["a dog"], "1#y": ["a dog", "dog"], "2#x": ["a cow"], "3#x": ["cows"]}

    counted_in_references = caption_diversity(hypotheses, images, references=references)["self_cider"]
    counted_in_hypotheses = caption_diversity(hypotheses, images)["self_cider"]

    # References: "a" of images 1 and 2, "dog" and "a dog" of image 1. Hypotheses: "a" of images 1 and 3.
    frequency = {("a",): 2, ("dog",): 1, ("a", "dog"): 1}
    assert counted_in_references == self_cider(["a dog", "a cat"], frequency, 3)
    assert counted_in_hypotheses == self_cider(["a dog", "a cat"], {("a",): 2}, 3)


def test_caption_diversity_self_cider_same_captions_are_zero_and_foreign_ones_one():
    same = {"1#x": "a dog runs in snow", "1#y": "a dog runs in snow", "2#x": "a dog runs in snow"}
    foreign = {"1#x": "a dog runs in snow", "1#y": "two cats sleep on sofas", "1#z": "look at that little bird"}
    images = {example_id: example_id[0] for example_id in {**same, **foreign}}

    assert caption_diversity(same, images)["self_cider"] == pytest.approx(0, abs=1e-12)
    assert caption_diversity(foreign, images)["self_cider"] == pytest.approx(1, abs=1e-12)


def test_self_cider_captions_without_words_say_nothing():
    assert self_cider(["", ""], {}, 1) == 0
    assert self_cider(["a dog runs fast", ""], {}, 1) == 0


@given(captions=st.lists(CAPTION, min_size=2, max_size=6), others=st.permutations(range(6)))
@settings(max_examples=200, deadline=None)
def test_caption_diversity_is_in_range_and_does_not_depend_on_the_order(captions, others):
    hypotheses = {str(i): caption for i, caption in enumerate(captions)}
    images = {"0": "a", "1": "a"} | dict.fromkeys(map(str, range(2, 6)), "b")
    shuffled = {str(i): hypotheses[str(i)] for i in others if str(i) in hypotheses}

    diversity = caption_diversity(hypotheses, images)

    for name in ("distinct_1", "distinct_2", "unique_captions", "mbleu_4", "self_cider"):
        assert -1e-12 <= diversity[name] <= 1 + 1e-12
    assert caption_diversity(shuffled, images) == pytest.approx(diversity, abs=1e-12)
