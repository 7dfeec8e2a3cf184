"""Stems by the rules of METEOR's time."""

from __future__ import annotations

import pytest

from metrics.meteor.stemmer import stem


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *[
            ("skies", "sky"),
            ("news", "news"),
            ("dying", "die"),
            ("at", "at"),
            ("inning", "inning"),
            ("exceeds", "exceed"),
        ],
        *[("caresses", "caress"), ("ties", "tie"), ("cries", "cri"), ("gas", "gas"), ("gaps", "gap"), ("bus", "bus")],
        *[("agreed", "agre"), ("feed", "feed"), ("hopping", "hop"), ("hoping", "hope"), ("luxuriating", "luxuri")],
        *[
            ("sing", "sing"),
            ("falling", "fall"),
            ("happily", "happili"),
            ("happy", "happi"),
            ("say", "say"),
            ("by", "by"),
        ],
        *[("generously", "generous"), ("communication", "communic"), ("arsenal", "arsenal"), ("youthful", "youth")],
        *[("relational", "relat"), ("apology", "apolog"), ("apologist", "apologist"), ("adoption", "adopt")],
        *[("replacement", "replac"), ("rolled", "roll"), ("controll", "control"), ("cease", "ceas"), ("boy's", "boy")],
        *[("'em", "em"), ("yellow", "yellow"), ("\u4f60\u597d\u554a", "\u4f60\u597d\u554a")],
    ],
)
def test_stem_is_that_of_the_snowball_of_meteor(word, expected):
    assert stem(word) == expected


def test_stem_of_each_rule_twice_is_stable_for_plain_words():
    words = "running dogs beautifully wooden waves".split()

    assert [stem(word) for word in words] == ["run", "dog", "beauti", "wooden", "wave"]
