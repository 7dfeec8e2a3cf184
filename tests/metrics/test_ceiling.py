from __future__ import annotations

import math

import numpy as np
import pytest

from metrics.ceiling import MOST_EXAMPLES, cider_ceilings
from metrics.scores.cider import cider, cider_d
from metrics.scores.document_frequency import DocumentFrequency
from metrics.tokenizers.ptb import TOKENIZER_NAME

WORDS = ["a dog runs over the grass", "two men play in the snow", "she reads an old book", "cars wait at a red light"]


def test_single_captions_against_themselves_have_all_that_there_is():
    (ceiling,) = cider_ceilings([[text] for text in WORDS], [[text] for text in WORDS])
    assert (ceiling.method, ceiling.n, ceiling.lost) == ("itself", 4, 0)
    # Four words and more: every order has n-grams of weight, and each cosine with itself is 1.
    assert ceiling.as_written == pytest.approx(10)


def test_a_rule_that_changes_every_word_leaves_nothing():
    (ceiling,) = cider_ceilings([[text] for text in WORDS], [["zzz"]] * 4)
    assert (ceiling.under_rule, ceiling.lost) == (0, 1)


def test_several_captions_are_scored_against_the_others_of_their_example():
    captions = [["a dog runs here", "a dog runs there"], ["two men at play", "two men in snow", "men who play"]]
    (ceiling,) = cider_ceilings(captions, captions)
    frequencies = DocumentFrequency.from_references(captions, tokenizer=TOKENIZER_NAME, eos=None)
    scores = [
        cider_d([[other for other in own if other != text]], [text], frequencies)[0] for own in captions for text in own
    ]
    assert (ceiling.method, ceiling.n) == ("leave_one_out", 5)
    assert ceiling.as_written == pytest.approx(np.mean(scores))
    assert 0 < ceiling.as_written < 10


def test_apostrophes_cost_and_full_stops_do_not():
    plain = [[f"{text} ."] for text in WORDS]
    assert cider_ceilings(plain, [[text] for text in WORDS])[0].lost == pytest.approx(0)
    spoken = [[f"it's {text}"] for text in WORDS]
    ruled = [[f"its {text}"] for text in WORDS]
    ceiling = cider_ceilings(spoken, ruled)[0]
    references = [["it 's " + text] for text in WORDS]
    # "it" and "'s" are in every document and weigh nothing alone; what is lost is in the longer n-grams.
    by_hand = cider(references, ["its " + text for text in WORDS]).mean()
    assert ceiling.under_rule == pytest.approx(by_hand)
    assert 0.02 < ceiling.lost < 0.5


def test_too_few_examples_have_no_ceiling_and_many_are_thinned():
    assert cider_ceilings([], []) == []
    assert cider_ceilings([["a dog"]], [["a dog"]]) == []
    many = [[f"word{k} and word{k + 1}"] for k in range(MOST_EXAMPLES + 1)]
    (ceiling,) = cider_ceilings(many, many)
    assert ceiling.n == math.ceil((MOST_EXAMPLES + 1) / 2)
