from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.style.language_model import _BEGIN, NgramLanguageModel, _discounts
from utils.io import read_json

CAPTION = st.lists(st.sampled_from(["a", "dog", "runs", "é", "<s>", "<unk>"]), max_size=6).map(" ".join)


def textbook_probability(captions: Iterable[str], order: int, context: tuple[str, ...], word: str) -> float:
    """p(word | context) as Chen and Goodman define it, counted anew for every n-gram."""
    padded = [["<s>"] * (order - 1) + caption.split() + ["</s>"] for caption in captions]
    vocabulary = {token for row in padded for token in row[order - 1 :]}
    known = {*vocabulary, "<s>"}

    def counts(n: int) -> Counter[tuple[str, ...]]:
        longer = n if n == order else n + 1
        ngrams = [
            tuple(row[end - longer : end]) for row in padded for end in range(order, len(row) + 1) if end >= longer
        ]
        return Counter(ngrams) if n == order else Counter(ngram[1:] for ngram in set(ngrams))

    def probability(history: tuple[str, ...], last: str) -> float:
        found = counts(len(history) + 1)
        lower = probability(history[1:], last) if history else 1 / (len(vocabulary) + 1)
        following = {ngram: count for ngram, count in found.items() if ngram[:-1] == history}
        if not following:
            return lower
        times = [sum(count == k for count in found.values()) for k in range(5)]
        share = times[1] / (times[1] + 2 * times[2])
        discounts = [0.0] + [k - (k + 1) * share * times[k + 1] / times[k] for k in (1, 2, 3)]
        total = sum(following.values())
        kept = max(found[(*history, last)] - discounts[min(found[(*history, last)], 3)], 0) / total
        held_back = sum(discounts[min(count, 3)] for count in following.values()) / total
        return kept + held_back * lower

    return probability(tuple(token if token in known else "?" for token in context), word if word in known else "?")


def test_language_model_tiny_corpus_by_hand():
    model = NgramLanguageModel.fit(["a b", "a"], order=2)

    # Too few counts for estimates: discounts 0.5 of a count of 1 and 1 of a count of 2.
    # Different words before: a 1 (the beginning), b 1 (a), the end 2 (a, b); 4 in all, discounts 0.5 + 0.5 + 1 = 2.
    # a, b, the end and <unk> share the 2/4 that are held back: 1/8 each.
    # p(a) = p(b) = 0.5/4 + 1/8 = 1/4, p(end) = 1/4 + 1/8 = 3/8, p(<unk>) = 1/8; together 1.
    first_a = (2 - 1) / 2 + 1 / 2 * 1 / 4
    b_after_a = (1 - 0.5) / 2 + (0.5 + 0.5) / 2 * 1 / 4
    end_after_a = (1 - 0.5) / 2 + (0.5 + 0.5) / 2 * 3 / 8
    end_after_b = (1 - 0.5) / 1 + 0.5 / 1 * 3 / 8
    first_unknown, end_after_unknown = 1 / 2 * 1 / 8, 3 / 8
    end_at_once = 1 / 2 * 3 / 8
    expected = [
        first_a * b_after_a * end_after_b,
        first_a * end_after_a,
        first_unknown * end_after_unknown,
        end_at_once,
    ]
    assert model.log_probabilities(["a b", "a", "zebra", ""]) == pytest.approx(np.log(expected), abs=1e-14)
    words = [first_a, b_after_a, end_after_b, first_unknown, end_after_unknown]
    assert model.word_log_probabilities(["a b", "zebra"]) == pytest.approx(np.log(words), abs=1e-14)
    assert [model.knows(word) for word in ("b", "zebra", "")] == [True, False, False]
    # Six words with the ends: a b end, a end, end.
    assert model.perplexity(["a b", "a", ""]) == pytest.approx(
        (expected[0] * expected[1] * expected[3]) ** (-1 / 6), abs=1e-13
    )


def test_discounts_by_hand():
    counts = np.repeat([1, 2, 3, 4, 7], [6, 3, 2, 1, 5])

    # Y = 6 / (6 + 2 * 3) = 1/2; 1 - 2 Y 3/6, 2 - 3 Y 2/3, 3 - 4 Y 1/2.
    assert _discounts(counts) == (0.0, 0.5, 1.0, 2.0)


@pytest.mark.parametrize("counts", [[1, 1, 2], [1, 2, 3], [4, 4], [1, 1, 2, 3, 3, 3, 4]])
def test_discounts_counts_too_few_for_estimates_takes_the_fixed_ones(counts):
    # The last has all counts of 1 to 4, but its estimate 2 - 3 (2/4) (3/1) is negative.
    assert _discounts(np.array(counts)) == (0.0, 0.5, 1.0, 1.5)


def senticap_sentences(shared: Path) -> list[str]:
    images = read_json(shared / "data" / "senticap" / "senticap.json")["images"]
    return [" ".join(sentence["tokens"]) for image in images for sentence in image["sentences"]]


def test_language_model_real_captions_equal_the_textbook(shared):
    captions = senticap_sentences(shared)
    train, caption = captions[:400], captions[500]
    model = NgramLanguageModel.fit(train)

    words = ["<s>", "<s>", *caption.split(), "</s>"]
    assert not set(caption.split()) <= {word for text in train for word in text.split()}  # One word is unknown.
    expected = [textbook_probability(train, 3, tuple(words[i - 2 : i]), words[i]) for i in range(2, len(words))]
    assert model.log_probabilities([caption])[0] == pytest.approx(sum(map(math.log, expected)), abs=1e-10)


def test_language_model_trigrams_beat_shorter_ngrams_and_other_styles_on_real_captions(shared):
    images = read_json(shared / "data" / "senticap" / "senticap.json")["images"]
    texts = {
        (image_split, sentiment): [
            " ".join(sentence["tokens"])
            for image in images
            if image["split"] == image_split
            for sentence in image["sentences"]
            if sentence["sentiment"] == sentiment
        ]
        for image_split in ("train", "test")
        for sentiment in (0, 1)
    }
    perplexities = [
        NgramLanguageModel.fit(texts["train", 1], order).perplexity(texts["test", 1]) for order in (1, 2, 3)
    ]
    other = NgramLanguageModel.fit(texts["train", 0]).perplexity(texts["test", 1])

    assert perplexities[0] > perplexities[1] > perplexities[2]
    assert other > 2 * perplexities[2]


@given(captions=st.lists(CAPTION, min_size=1, max_size=8), order=st.integers(1, 4), seed=st.integers(0, 100))
@settings(max_examples=100, deadline=None)
def test_language_model_probabilities_of_all_next_words_sum_to_one(captions, order, seed):
    model = NgramLanguageModel.fit(captions, order)
    contexts = np.random.default_rng(seed).integers(0, model._size, (5, order - 1))

    for context in contexts:
        windows = np.array([[*context, word] for word in range(model._size) if word != _BEGIN])
        assert model._probabilities(windows).sum() == pytest.approx(1, abs=1e-12)


@given(captions=st.lists(CAPTION, min_size=1, max_size=8), tested=st.lists(CAPTION, min_size=1, max_size=5))
@settings(max_examples=100, deadline=None)
def test_language_model_order_and_company_of_captions_do_not_matter(captions, tested):
    model = NgramLanguageModel.fit(captions)
    alone = [NgramLanguageModel.fit(captions[::-1]).log_probabilities([caption])[0] for caption in tested]

    assert model.log_probabilities(tested) == pytest.approx(alone, abs=1e-12)
    assert max(alone) < 0
    assert model.perplexity(tested) >= 1


@pytest.mark.parametrize("captions", [["a dog runs"], ["a dog runs"] * 50, ["", ""], [""]])
def test_language_model_without_variety_likes_its_captions_best(captions):
    model = NgramLanguageModel.fit(captions)

    known, strange = model.log_probabilities([captions[0], "zebras fly home"])
    assert known > strange > -math.inf
    assert known > math.log(0.05)


def test_language_model_words_that_look_like_marks_are_words():
    model = NgramLanguageModel.fit(["<s> </s>", "<unk>"])

    # Otherwise "</s>" would end the caption early, and "zebra" would be as likely as the known word "<unk>".
    known, unknown = model.log_probabilities(["<unk>", "zebra"])
    assert known > unknown
    assert model.log_probabilities(["<s> </s>"])[0] > model.log_probabilities(["</s> <s>"])[0]


def test_language_model_without_captions_is_refused():
    with pytest.raises(ValueError, match="0 captions and order 3: a language model needs at least 1 of each"):
        NgramLanguageModel.fit([])
    with pytest.raises(ValueError, match="1 captions and order 0"):
        NgramLanguageModel.fit(["a"], order=0)
    model = NgramLanguageModel.fit(["a"])
    with pytest.raises(ValueError, match="no captions: a perplexity is a mean over words"):
        model.perplexity([])
    assert model.log_probabilities([]).shape == (0,)


def test_language_model_order_that_numbers_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="order 40 is too large for 2 words"):
        NgramLanguageModel.fit(["a b"], order=40)
