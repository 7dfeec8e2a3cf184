from __future__ import annotations

from collections import Counter

import pytest

from preprocessors.text import lengths as module
from preprocessors.text.lengths import CaptionLengths, caption_lengths


def test_covering_is_the_smallest_limit_that_covers_so_many():
    lengths = CaptionLengths({"a": {3: 900, 10: 95}, "b": {11: 1, 40: 4}})  # 995 of 1,000 have at most 10 tokens
    assert (lengths.total, lengths.longest, lengths.covering()) == (1000, 40, 10)
    assert lengths.over(10) == {"a": 0, "b": 5}
    assert CaptionLengths({"a": {3: 900, 10: 94}, "b": {11: 2, 40: 4}}).covering() == 11
    assert lengths.covering(1000) == 40


def test_covering_of_few_captions_is_their_longest_and_of_none_one():
    assert CaptionLengths({"a": {5: 7, 61: 1}}).covering() == 61
    assert CaptionLengths({}).covering() == CaptionLengths({"a": {0: 3}}).covering() == 1
    assert CaptionLengths({}).longest == 0


def test_caption_lengths_count_tokens_as_trained_without_a_limit(word_tokenizer):
    captions = {"a": ["one , two", "one , two", "- !"], "b": ["word " * 300]}
    assert caption_lengths(captions, word_tokenizer, "strip").by_style == {"a": Counter({2: 2, 0: 1}), "b": {300: 1}}
    assert caption_lengths(captions, word_tokenizer, "keep").by_style["a"] == {2: 3}


@pytest.mark.parametrize(("size", "repeating"), [(0, 0), (1, 3), (2, 2), (3, 0)])
def test_caption_lengths_count_captions_that_repeat_what_may_not_come_twice(word_tokenizer, size, repeating):
    captions = {"a": ["x y x y", "x y x y", "x y x", "x"]}
    assert caption_lengths(captions, word_tokenizer, "strip", size).repeating == repeating


def test_caption_lengths_of_many_captions_look_at_some_spread_evenly(word_tokenizer, monkeypatch):
    monkeypatch.setattr(module, "MOST_COUNTED", 5)
    lengths = caption_lengths({"a": ["x", "x y"] * 5, "b": ["x y z"]}, word_tokenizer, "strip")
    assert lengths.is_sample
    assert lengths.by_style == {"a": {1: 2, 2: 2}, "b": {3: 1}}
