"""METEOR without Java is METEOR: the Java program's own counts, and what must hold of any captions."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import numpy as np
import pytest

from metrics.meteor.align import align
from metrics.meteor.scorer import score
from metrics.scores.java_metrics import running_meteor as running_java
from metrics.scores.measurement import MetricUnavailable
from metrics.scores.meteor import meteor_statistics
from tests.golden.meteor_captions import caption, segments
from utils.io import read_json

GOLDEN = Path(__file__).parents[2] / "golden" / "meteor.json"


def scores_of(*examples):
    references, hypotheses = zip(*examples, strict=True)
    return score(meteor_statistics(references, hypotheses))


def test_meteor_statistics_are_those_that_java_counted():
    references, hypotheses = zip(*segments(), strict=True)

    assert meteor_statistics(references, hypotheses).tolist() == read_json(GOLDEN)["counts"]


@pytest.mark.java
def test_meteor_statistics_of_new_captions_are_those_that_java_counts():
    draw = random.Random()
    references = [[caption(draw) for _ in range(3)] for _ in range(200)]
    hypotheses = [" ".join(draw.sample(texts[0].split() * 2, 9)) for texts in references]
    references += [["red, ||| 'circle'"], ["a\nb\r\n"], ["\ud800 dog"], ["| |||| ||"]]
    hypotheses += ["red ,|||circle", "a b", "? dog", "|"]

    with running_java(references, hypotheses) as wait:
        expected = wait()

    assert meteor_statistics(references, hypotheses).tolist() == expected.tolist()


def test_meteor_statistics_by_hand():
    # Exact: the, park. Stem: dogs. Synonym: sofa, couch. The chunks are "the dogs", "park" and "sofa".
    (row,) = meteor_statistics([["the dog zz park yy couch"]], ["the dogs park xx sofa"])

    assert row[:4].tolist() == [5, 6, 1, 1]
    assert row[4:20].tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert row[20:].tolist() == [3, 4, 4]


@pytest.mark.parametrize(
    "text", ["a red circle", "Dogs, dogs and dogs!", "x", "\u4f60\u597d \U0001f600", "the the the"]
)
def test_meteor_of_a_caption_against_itself_is_1(text):
    # One chunk of all words costs nothing.
    assert scores_of(([text], text)).tolist() == [pytest.approx(1, abs=1e-15)]


def test_meteor_order_and_doubles_of_references_change_no_score():
    draw = random.Random(3)
    for _ in range(20):
        texts, hypothesis = [caption(draw) for _ in range(3)], caption(draw)
        found = scores_of((texts, hypothesis), (texts[::-1], hypothesis), (texts + texts, hypothesis))
        assert found[0] == found[1] == found[2] == scores_of(*(([text], hypothesis) for text in texts)).max()


def test_meteor_does_not_depend_on_what_else_is_scored():
    references, hypotheses = zip(*segments(), strict=True)
    together = meteor_statistics(references, hypotheses)
    rows = [*range(0, len(hypotheses), 9), len(hypotheses) - 1]

    alone = [meteor_statistics(references[row : row + 1], hypotheses[row : row + 1])[0] for row in rows]

    assert np.array_equal(alone, together[rows])


def test_meteor_leaves_the_collector_of_garbage_as_it_was():
    for enabled, switch in ((False, gc.disable), (True, gc.enable)):
        switch()
        meteor_statistics([["a dog"]], ["a dog"])
        assert gc.isenabled() is enabled


def test_meteor_empty_captions_score_0():
    assert scores_of(([""], ""), (["a dog"], ""), (["", " . "], "red"), ([""], "red")).tolist() == [0, 0, 0, 0]
    assert meteor_statistics([], []).shape == (0, 23)


def test_meteor_very_long_captions_end():
    text = " ".join(["a dog and a cat"] * 60)

    assert 0.8 < scores_of(([text], f"the {text} too"))[0] < 1


def test_meteor_without_its_files_is_unavailable_with_the_reason(monkeypatch):
    def missing():
        raise FileNotFoundError("METEOR needs it")

    monkeypatch.setattr("metrics.scores.meteor.open_reader", missing)

    with pytest.raises(MetricUnavailable, match="METEOR needs it"):
        meteor_statistics([["a"]], ["a"])


def test_align_tells_words_stages_and_chunks():
    found = align("A man's rubbish in front of the dogs", "the man's trash before dog")

    assert found.hypothesis == ("a", "man", "'s", "rubbish", "in", "front", "of", "the", "dogs")
    assert found.reference == ("the", "man", "'s", "trash", "before", "dog")
    assert found.matches == (
        ((7, 8), (0, 1), "exact", 0),
        ((1, 2), (1, 2), "exact", 1),
        ((2, 3), (2, 3), "exact", 1),
        ((3, 4), (3, 4), "synonym", 1),
        ((4, 6), (4, 5), "paraphrase", 1),
    )


def test_align_nothing_in_common_is_empty():
    assert align("zz", "qq").matches == ()
    assert align("", "").hypothesis == ()
