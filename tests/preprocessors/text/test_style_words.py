import math
from collections import defaultdict

import pytest

from preprocessors.text.style_words import foreign_token_ids, style_word_scores, typical_words
from utils.io import read_json


def test_style_word_scores_match_hand_arithmetic():
    scores = style_word_scores({"warm": ["Red, red", "sky!"], "cold": ["blue sky", "sky"]})
    # All styles: red 2, sky 3, blue 1, 6 words. The prior, scaled to one of two: red 1, sky 1.5, blue 0.5, 3 words.
    # red in warm:  own (2 + 1) of 3 + 3, odds 3/3; others (0 + 1) of 3 + 3, odds 1/5; variance 1/3 + 1/1
    # sky in warm:  own 2.5 of 6, odds 2.5/3.5;     others 3.5 of 6, odds 3.5/2.5;     variance 1/2.5 + 1/3.5
    # blue in cold: own 1.5 of 6, odds 1.5/4.5;     others 0.5 of 6, odds 0.5/5.5;     variance 1/1.5 + 1/0.5
    sky = (math.log(2.5 / 3.5) - math.log(3.5 / 2.5)) / math.sqrt(1 / 2.5 + 1 / 3.5)
    blue = (math.log(1.5 / 4.5) - math.log(0.5 / 5.5)) / math.sqrt(1 / 1.5 + 1 / 0.5)
    assert scores["warm"] == pytest.approx({"red": math.log(5) / math.sqrt(4 / 3), "sky": sky}, abs=1e-12)
    assert scores["cold"] == pytest.approx({"sky": -sky, "blue": blue}, abs=1e-12)


def test_style_word_scores_do_not_depend_on_the_order_of_styles_or_captions():
    captions = {"a": ["x y y", "z"], "b": ["x x", "w z"], "c": ["v y"]}
    turned = {style: texts[::-1] for style, texts in reversed(captions.items())}
    assert style_word_scores(turned) == style_word_scores(captions)


def test_style_word_scores_without_anything_to_tell_apart_are_zero():
    alone = style_word_scores({"calm": ["the sea", "the sea the sky"]})
    assert alone["calm"] == pytest.approx({"the": 0.0, "sea": 0.0, "sky": 0.0}, abs=1e-12)
    assert typical_words(alone) == {"calm": frozenset()}
    assert style_word_scores({"a": ["yes yes"], "b": ["yes"], "c": ["!"]}) == {
        "a": {"yes": 0},
        "b": {"yes": 0},
        "c": {},
    }


def test_typical_words_are_those_above_the_threshold():
    scores = {"a": {"x": 2.0, "y": 1.96, "z": -3.0}, "b": {}}
    assert typical_words(scores) == {"a": {"x"}, "b": set()}
    assert typical_words(scores, threshold=-3.5) == {"a": {"x", "y", "z"}, "b": set()}


def test_typical_words_of_flickrstyle_are_those_of_its_styles(shared):
    captions = defaultdict(list)
    for row in read_json(shared / "data" / "flickrstyle" / "captions.json"):
        captions["humorous"].append(row["humorous"])
        captions["romantic"].append(row["romantic"])
        captions["factual"] += row["factual"]
    typical = typical_words(style_word_scores(captions))
    assert {"love", "lover", "loves", "loving", "beautiful", "joy", "happily"} <= typical["romantic"]
    assert {"bones", "pokemon", "mermaids", "supremacy", "pretending"} <= typical["humorous"]
    assert {"white", "black", "shirt", "wearing"} <= typical["factual"]
    assert typical["romantic"].isdisjoint(typical["factual"])


def test_typical_words_of_hundreds_of_small_styles_are_found(shared):
    captions = defaultdict(list)
    for file in ("pcap_valid_derived.json", "pcap_test_derived.json"):
        for row in read_json(shared / "data" / "personality_captions" / file):
            captions[row["personality"]] += [row["comment"], *row.get("additional_comments_tok16", [])]
    typical = typical_words(style_word_scores(captions))
    assert len(typical) > 200
    assert {"hate", "mad", "angry", "damn"} <= typical["Angry"]
    assert {"date", "wife", "girlfriend", "love", "dinner"} <= typical["Romantic"]
    assert all(len(words) >= 50 for style, words in typical.items() if len(captions[style]) >= 50)


def test_foreign_token_ids_are_whole_words_typical_of_other_styles_only():
    typical = {
        "Sweet": frozenset({"lovely", "dear", "cuddly"}),
        "Old": frozenset({"ye", "dear"}),
        "Plain": frozenset(),
    }
    ids = {" lovely": [5], " dear": [3], " cuddly": [8, 9], " ye": [4]}
    # "cuddly" is two tokens and never counts; "dear" is typical of both Sweet and Old.
    assert foreign_token_ids(typical, ids.__getitem__) == {"Sweet": [4], "Old": [5], "Plain": [3, 4, 5]}


@pytest.mark.parametrize(
    "typical",
    [
        {"Sweet": frozenset()},  # of a single style no word is typical
        {"Sweet": frozenset({"dear"}), "Old": frozenset({"dear"})},
        {"Sweet": frozenset({"cuddly"}), "Old": frozenset()},
    ],
)
def test_foreign_token_ids_without_any_are_refused(typical):
    ids = {" dear": [3], " cuddly": [8, 9]}
    with pytest.raises(ValueError, match=r"^unlikelihood\.leakage: .*; it takes two styles .* Set it to 0\.$"):
        foreign_token_ids(typical, ids.__getitem__)
