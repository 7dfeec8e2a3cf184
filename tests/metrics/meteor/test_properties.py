"""What must hold of METEOR whatever the captions are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.meteor.align import align
from metrics.meteor.scorer import CHUNKS, score
from metrics.scores.meteor import meteor_statistics

PIECES = (
    *"a the of and dog dogs runs running run man men car automobile couch sofa before 'front' in front of".split(),
    *"it's don't U.S. e.g. 1,000 3.5 -- ... ' \" , . ? |||".split(),
    *"你好 世界 ЖИЗНЬ ΣΑΣ café 😀 𐐀 الكلب หมา नमस्ते".split(),
    *("\t", "\n", "\x00", "\ud800", "\xa0", "\u200b", "\u0301", "\u2028", ""),
)
WORDS = st.text("bdfghjk", min_size=3, max_size=8)
"""Words that have no relatives, so that each matches itself alone."""
captions = st.lists(st.sampled_from(PIECES) | st.text(max_size=6), max_size=12).map(" ".join)


def scores_of(*examples: tuple[list[str], str]) -> list[float]:
    references, hypotheses = zip(*examples, strict=True)
    return score(meteor_statistics(references, hypotheses)).tolist()


@settings(max_examples=60, deadline=None)
@given(captions)
def test_caption_against_itself_has_all_words_in_one_chunk_and_no_penalty(caption):
    (row,) = meteor_statistics([[caption]], [caption])
    words = len(align(caption, caption).hypothesis)
    assert row[:2].tolist() == [words, words]
    assert row[CHUNKS:].tolist() == [0, words, words]
    assert score(row) == pytest.approx(float(words > 0), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(WORDS, min_size=2, max_size=30, unique=True), st.data())
def test_caption_whose_pieces_changed_places_loses_what_the_penalty_says(words, data):
    cuts = data.draw(st.lists(st.integers(1, len(words) - 1), min_size=1, max_size=6, unique=True))
    ends = [0, *sorted(cuts), len(words)]
    pieces = [words[start:end] for start, end in zip(ends, ends[1:], strict=False)][::-1]
    moved = [word for piece in pieces for word in piece]
    found = scores_of(([" ".join(words)], " ".join(moved)))
    # Precision and recall are 1, and reversed pieces make a chunk each.
    assert found == [pytest.approx(1 - 0.6 * (len(pieces) / len(words)) ** 0.2, abs=1e-12)]


@settings(max_examples=50, deadline=None)
@given(st.lists(captions, min_size=1, max_size=4), captions, st.randoms(use_true_random=False))
def test_references_count_neither_by_order_nor_twice_and_the_best_one_alone(references, hypothesis, draw):
    shuffled = draw.sample(references, len(references))
    found = scores_of((references, hypothesis), (shuffled, hypothesis), (references * 2, hypothesis))
    assert found == [max(scores_of(*(([text], hypothesis) for text in references)))] * 3
    assert 0 <= found[0] <= 1


@settings(max_examples=50, deadline=None)
@given(captions, captions)
def test_counts_are_those_of_the_alignment_which_uses_no_word_twice(first, second):
    (row,) = meteor_statistics([[second]], [first])
    found = align(first, second)
    for side in (0, 1):
        words = [place for match in found.matches for place in range(*match[side])]
        assert len({*words}) == len(words) == row[CHUNKS + 1 + side]
        assert row[side] == len(found[side])
        assert row[4 + side : CHUNKS : 2].sum() == len(words)
    chunks = 1 + max((match.chunk for match in found.matches), default=-1)
    whole = chunks == 1 and row[CHUNKS + 1 :].tolist() == row[:2].tolist()
    assert row[CHUNKS] == (0 if whole else chunks)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(captions, captions), min_size=1, max_size=5), st.integers(2, 4))
def test_score_of_a_corpus_comes_from_sums_so_that_doubling_it_changes_nothing(pairs, times):
    rows = meteor_statistics([[reference] for reference, _ in pairs], [hypothesis for _, hypothesis in pairs])
    again = meteor_statistics([[reference] for reference, _ in pairs * times], [text for _, text in pairs * times])
    assert np.array_equal(again, np.tile(rows, (times, 1)))
    assert score(again.sum(axis=0)) == pytest.approx(float(score(rows.sum(axis=0))), abs=1e-12)


@pytest.mark.parametrize("length", [1_000, 3_000])
def test_very_long_caption_scores_by_the_formula(length):
    words = [f"x{number}" for number in range(length)]
    found = scores_of(([" ".join(words)], " ".join(words[length // 2 :] + words[: length // 2])))
    assert found == [pytest.approx(1 - 0.6 * (2 / length) ** 0.2, abs=1e-12)]


@pytest.mark.parametrize("nothing", ["", " ", "\t\n", "\x00", "\u3000"])
def test_caption_without_words_scores_0_with_any_other(nothing):
    assert scores_of((["a dog"], nothing), ([nothing], "a dog"), ([nothing, "a dog"], "a dog")) == [0, 0, 1]
