from __future__ import annotations

import math

import pytest

from metrics.coco import METRIC_NAMES, score_captions
from utils.io import read_json

PRINTED_BY_COCO = {
    "Bleu_1": "0.579", "Bleu_2": "0.404", "Bleu_3": "0.279", "Bleu_4": "0.191", "ROUGE_L": "0.396", "CIDEr": "0.600",
}  # fmt: skip


def test_score_captions_coco_example_gives_the_published_digits(shared):
    folder = shared / "data" / "coco_fakecap"
    references = read_json(folder / "en_captions_val2014_references_after_tokenization.json")
    results = read_json(folder / "en_captions_val2014_results_after_tokenization.json")

    scores = score_captions(references, {example_id: captions[0] for example_id, captions in results.items()})

    assert {name: f"{scores.overall[name]:.3f}" for name in PRINTED_BY_COCO} == PRINTED_BY_COCO
    ciders = [row["CIDEr"] for row in scores.per_example.values()]
    assert sum(ciders) / 1000 == pytest.approx(scores.overall["CIDEr"], rel=1e-12)


def test_score_captions_short_hypothesis_pays_bleu_brevity():
    scores = score_captions({"a#x": ["the cat sat down", "a b c d e f g"]}, {"a#x": "the cat sat"})

    # Every n-gram up to 3 matches; the closest reference has 4 words for 3.
    assert scores.overall["Bleu_1"] == pytest.approx(math.exp(1 - 4 / 3))
    assert scores.per_example["a#x"]["Bleu_3"] == pytest.approx(math.exp(1 - 4 / 3))


def test_score_captions_subsequence_gives_rouge_l_by_hand():
    scores = score_captions({"a#x": ["red big  circle"], "b#x": ["blue"]}, {"a#x": "red  circle", "b#x": "red"})

    # Longest common subsequence 2: precision 2/2, recall 2/3, beta 1.2; the second example shares nothing.
    expected = (1 + 1.44) * 1 * (2 / 3) / (2 / 3 + 1.44 * 1)
    assert scores.per_example["a#x"]["ROUGE_L"] == pytest.approx(expected)
    assert scores.overall["ROUGE_L"] == pytest.approx(expected / 2)


def test_score_captions_two_examples_give_cider_by_hand():
    references = {"a#x": ["red circle", "red square"], "b#x": ["blue star"]}

    scores = score_captions(references, {"a#x": "red circle", "b#x": "red circle"})

    # All n-grams are in one example of two, so all weigh log 2. Against "red circle": cosine 1 for unigrams and
    # for bigrams, 0 for the longer ones: 2/4. Against "red square": unigrams 1/2, bigrams 0: (1/2)/4.
    assert scores.per_example["a#x"]["CIDEr"] == pytest.approx(10 * (2 / 4 + 0.5 / 4) / 2)
    assert scores.per_example["b#x"]["CIDEr"] == 0
    assert scores.overall["CIDEr"] == pytest.approx(10 * (2 / 4 + 0.5 / 4) / 4)


def test_score_captions_empty_hypotheses_score_zero_everywhere():
    # "" among the references would count as a hit for ROUGE-L's scorer.
    references = {"a#x": ["red circle", ""], "b#x": ["blue star"]}

    scores = score_captions(references, {"a#x": "", "b#x": "   "})

    available = [name for name in METRIC_NAMES if name not in scores.unavailable]
    assert {scores.overall[name] for name in available} == {0.0}
    assert {value for row in scores.per_example.values() for value in row.values()} == {0.0}


def test_score_captions_one_empty_hypothesis_leaves_the_other_score():
    references = {"a#x": ["red circle"], "b#x": ["blue star"]}

    scores = score_captions(references, {"a#x": "", "b#x": "blue star"})

    assert scores.per_example["b#x"]["CIDEr"] == pytest.approx(5)
    assert scores.overall["CIDEr"] == pytest.approx(2.5)


def test_score_captions_java_metrics_are_null_with_a_reason():
    scores = score_captions({"a#x": ["red"]}, {"a#x": "red"})

    assert tuple(scores.overall) == METRIC_NAMES
    assert {name for name, value in scores.overall.items() if value is None} == {"METEOR", "SPICE"}
    assert all("Java" in scores.unavailable[name] for name in ("METEOR", "SPICE"))


def test_score_captions_prints_nothing(capfd):
    score_captions({"a#x": ["red"]}, {"a#x": "red"})

    assert capfd.readouterr() == ("", "")


def test_score_captions_other_ids_are_counted_and_listed():
    references = {f"{i}.jpg#x": ["red"] for i in range(7)}

    with pytest.raises(
        ValueError, match=r"6 of 7 examples have no hypothesis \(1.jpg#x, .*, 5.jpg#x, \.\.\.\)"
    ) as error:
        score_captions(references, {"0.jpg#x": "red", "9.jpg#x": "red"})

    assert "1 have a hypothesis but no references (9.jpg#x)" in str(error.value)
    assert "6.jpg" not in str(error.value)


@pytest.mark.parametrize(
    ("references", "message"),
    [
        ({}, "no examples to score"),
        ({"a#x": ["red"], "b#x": []}, r"1 examples have an empty list of references \(b#x\)"),
        ({"a#x": [""], "b#x": [" "]}, "none of the 2 examples has a reference with a word"),
    ],
)
def test_score_captions_unusable_references_are_refused(references, message):
    with pytest.raises(ValueError, match=message):
        score_captions(references, dict.fromkeys(references, "red"))
