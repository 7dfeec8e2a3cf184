from __future__ import annotations

import math

import pytest

from metrics.text_lm import Place, TextScore, hit_rates, is_same_word, places_of, text_numbers, total


def test_text_numbers_by_hand():
    # 4 tokens of 2 bits each are 8 bits over 16 bytes.
    numbers = text_numbers(TextScore(4 * 2 * math.log(2), 4, 16))
    assert numbers == pytest.approx({"loss": 2 * math.log(2), "perplexity": 4.0, "bits_per_byte": 0.5})


def test_text_numbers_of_nothing_are_none_and_of_hopeless_models_finite():
    assert text_numbers(total([])) == {"loss": None, "perplexity": None, "bits_per_byte": None}
    assert math.isfinite(text_numbers(TextScore(1e6, 1, 1))["perplexity"])


def test_total_weighs_texts_by_their_tokens():
    both = total([TextScore(2.0, 1, 3), TextScore(4.0, 5, 7)])
    assert both == TextScore(6.0, 6, 10)
    assert text_numbers(both)["loss"] == 1.0


TEXTS = {7: "a red dog  sat,\ndown", 8: "one", 9: "two words"}


def test_places_stand_before_every_word_but_the_first():
    assert [*places_of(TEXTS, 100)] == [
        Place(7, "a", "red"),
        Place(7, "a red", "dog"),
        Place(7, "a red dog", "sat,"),
        Place(7, "a red dog  sat,", "down"),
        Place(9, "two", "words"),
    ]


@pytest.mark.parametrize(
    ("most", "words"), [(0, []), (1, ["red"]), (2, ["red", "down"]), (4, ["red", "sat,", "down", "words"])]
)
def test_places_are_spread_when_there_are_too_many(most, words):
    assert [place.word for place in places_of(TEXTS, most)] == words


def test_places_of_a_word_within_another_are_told_apart():
    assert [*places_of({0: "cat catalogue cat"}, 9)][-1] == Place(0, "cat catalogue", "cat")


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [("Dog.", "dog", True), ("(dog", "dog,", True), ("dogs", "dog", False), ("-", "--", False), ("...", "...", True)],
)
def test_words_are_the_same_but_for_case_and_punctuation_around_them(a, b, same):
    assert is_same_word(a, b) is same


def test_hit_rates_by_hand():
    places = [Place(0, "a", "red"), Place(0, "a red", "dog"), Place(0, "a red dog", "sat"), Place(1, "b", "c")]
    proposed = [["red", "blue"], ["cat", "Dog,"], ["ran", ""], []]
    assert hit_rates(places, proposed) == {"next_word_hit_rate": 0.5, "next_word_first_rate": 0.25}
    assert hit_rates([], []) == {"next_word_hit_rate": None, "next_word_first_rate": None}
