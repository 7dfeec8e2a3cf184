"""METEOR's words of a caption; what the Java program makes of each is written beside it."""

from __future__ import annotations

import pytest

from metrics.meteor.normalizer import read_prefixes, words_of

PREFIXES = read_prefixes("# a comment\n\nMr\nNo #NUMERIC_ONLY# \n")


def test_read_prefixes_tells_those_in_front_of_numbers_only():
    assert PREFIXES == {"Mr": False, "No": True}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A Dog runs.", "a dog runs ."),
        ("  plain   words 2 ", "plain words 2"),
        ("red,blue 1,000 5,a", "red , blue 1,000 5 , a"),
        ("don't the dogs' O'Neill 90's", "don 't the dogs ' o 'neill 90 's"),
        ("``here'' \u2018it\u2019", "\" here \" ' it '"),
        ("well-known -- 3-4 a\u2013b", "well known - 3 4 a - b"),
        ("Mr. Smith No. 5 No. it", "mr. smith no. 5 no. it"),
        ("No. It", "no . it"),
        ("the U.S. and e.g. this", "the us and eg this"),
        ("wait... what", "wait ... what"),
        ("a_b(c)%", "a _ b ( c ) %"),
        ("one\xa0two\u2003three", "one two three"),
        ("DOTMULTI", "."),
        ("\x00 a \x1c", "a"),
        ("", ""),
    ],
)
def test_words_of_awkward_text_are_those_of_java(text, words):
    assert words_of(text, PREFIXES) == words.split(" ") * bool(words)
