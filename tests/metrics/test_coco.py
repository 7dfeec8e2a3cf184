from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np
import pytest

from metrics.coco import score_captions
from metrics.scores.cider import cider_d
from metrics.scores.document_frequency import DocumentFrequency
from metrics.scores.measurement import Measurement, at_once
from metrics.table import TEXT_METRICS
from utils.io import read_json

PRINTED_BY_COCO = {
    "Bleu_1": "0.579", "Bleu_2": "0.404", "Bleu_3": "0.279", "Bleu_4": "0.191", "ROUGE_L": "0.396", "CIDEr": "0.600",
}  # fmt: skip

PYTHON_METRICS = tuple(PRINTED_BY_COCO)

REFERENCES = {
    "a#x": ["a red circle", "red square"],
    "b#x": ["the blue star"],
    "c#x": ["two big dogs run", "a dog runs", ""],
    "d#x": ["the star"],
}
HYPOTHESES = {"a#x": "a red circle", "b#x": "the star", "c#x": "", "d#x": "a big dog runs"}

# Answers METEOR's protocol: 4 words and 4 in the reference, of which as many match as the hypothesis has words.
FAKE_METEOR = """
import sys
for line in sys.stdin:
    words = len(line.split("|||")[-1].split())
    print(4, 4, 0, 0, words, words, *[0] * 14, 1, words, words)
"""


def coco_example(shared):
    folder = shared / "data" / "coco_fakecap"
    references = read_json(folder / "en_captions_val2014_references_after_tokenization.json")
    results = read_json(folder / "en_captions_val2014_results_after_tokenization.json")
    return references, {example_id: texts[0] for example_id, texts in results.items()}


def score(references, hypotheses, metrics=PYTHON_METRICS, **options):
    return score_captions(references, hypotheses, metrics=metrics, **options)


def assert_same_scores(found, expected):
    assert found.ids == expected.ids
    assert found.overall == expected.overall
    assert found.unavailable == expected.unavailable
    assert found.per_example.keys() == expected.per_example.keys()
    for name, values in expected.per_example.items():
        assert found.per_example[name].tolist() == values.tolist()
    assert found.statistics.keys() == expected.statistics.keys()
    for name, values in expected.statistics.items():
        np.testing.assert_array_equal(found.statistics[name], values)


def test_score_captions_coco_example_gives_the_published_digits(shared):
    scores = score(*coco_example(shared))

    assert {name: f"{value:.3f}" for name, value in scores.overall.items()} == PRINTED_BY_COCO
    assert scores.per_example["CIDEr"].mean() == pytest.approx(scores.overall["CIDEr"], rel=1e-12)


@pytest.mark.java
@pytest.mark.slow
def test_score_captions_coco_example_with_java_gives_all_published_digits(shared):
    scores = score_captions(*coco_example(shared))

    printed = {name: f"{value:.3f}" for name, value in scores.overall.items() if value is not None}
    published = PRINTED_BY_COCO | {"METEOR": "0.195", "SPICE": "0.133"}
    assert printed == {name: published[name] for name in published if name not in scores.unavailable}
    assert set(scores.unavailable) <= {"SPICE"}


def test_score_captions_short_hypothesis_pays_bleu_brevity():
    scores = score({"a#x": ["the cat sat down", "a b c d e f g"]}, {"a#x": "the cat sat"})

    # Every n-gram up to 3 matches; the closest reference has 4 words for 3.
    assert scores.overall["Bleu_1"] == pytest.approx(math.exp(1 - 4 / 3))
    assert scores.per_example["Bleu_3"] == pytest.approx([math.exp(1 - 4 / 3)])


def test_score_captions_subsequence_gives_rouge_l_by_hand():
    scores = score({"a#x": ["red big  circle"], "b#x": ["blue"]}, {"a#x": "red  circle", "b#x": "red"})

    # Longest common subsequence 2: precision 2/2, recall 2/3, beta 1.2; the second example shares nothing.
    expected = (1 + 1.44) * 1 * (2 / 3) / (2 / 3 + 1.44 * 1)
    assert scores.per_example["ROUGE_L"] == pytest.approx([expected, 0])
    assert scores.overall["ROUGE_L"] == pytest.approx(expected / 2)


def test_score_captions_two_examples_give_cider_by_hand():
    references = {"a#x": ["red circle", "red square"], "b#x": ["blue star"]}

    scores = score(references, {"a#x": "red circle", "b#x": "red circle"})

    # All n-grams are in one example of two, so all weigh log 2. Against "red circle": cosine 1 for unigrams and
    # for bigrams, 0 for the longer ones: 2/4. Against "red square": unigrams 1/2, bigrams 0: (1/2)/4.
    assert scores.per_example["CIDEr"] == pytest.approx([10 * (2 / 4 + 0.5 / 4) / 2, 0])
    assert scores.overall["CIDEr"] == pytest.approx(10 * (2 / 4 + 0.5 / 4) / 4)


def test_score_captions_empty_hypotheses_score_zero_everywhere():
    # "" among the references would count as a hit for pycocoevalcap's ROUGE-L.
    scores = score({"a#x": ["red circle", ""], "b#x": ["blue star"]}, {"a#x": "", "b#x": "   "})

    assert scores.overall == dict.fromkeys(PYTHON_METRICS, 0.0)
    assert {name: values.tolist() for name, values in scores.per_example.items()} == dict.fromkeys(
        PYTHON_METRICS, [0.0, 0.0]
    )


def test_score_captions_one_empty_hypothesis_leaves_the_other_score():
    scores = score({"a#x": ["red circle"], "b#x": ["blue star"]}, {"a#x": "", "b#x": "blue star"})

    assert scores.per_example["CIDEr"] == pytest.approx([0, 5])
    assert scores.overall["CIDEr"] == pytest.approx(2.5)


def test_score_captions_space_inside_a_word_is_kept_as_pycocoevalcap_has_it():
    # The tokenizer gives "1 1/2" a no-break space: two words for BLEU, one for ROUGE-L.
    scores = score({"a#x": ["1\xa01/2 dogs"]}, {"a#x": "1 dogs"}, ["Bleu_1", "ROUGE_L"])

    assert scores.statistics["BLEU"].tolist() == [[2, 0, 0, 0, 2, 1, 0, 0, 2, 3]]
    assert scores.per_example["ROUGE_L"] == pytest.approx([0.5])


def test_score_captions_rows_follow_the_order_of_the_references():
    scores = score({"b": ["red circle"], "a": ["blue star"]}, {"a": "blue", "b": "nothing"}, ["Bleu_1", "ROUGE_L"])

    assert scores.ids == ("b", "a")
    assert scores.per_example["ROUGE_L"][0] == 0
    assert scores.statistics["BLEU"][:, 0].tolist() == [0, 1]


def test_score_captions_computes_only_what_is_asked_for_in_the_order_of_the_names():
    scores = score(REFERENCES, HYPOTHESES, {"CIDEr", "Bleu_4"})

    assert list(scores.overall) == list(scores.per_example) == ["Bleu_4", "CIDEr"]
    assert "METEOR" not in scores.statistics
    assert score(REFERENCES, HYPOTHESES, ["ROUGE_L"]).statistics == {}


def test_score_captions_without_java_gives_the_others_and_the_reasons(fake_java):
    fake_java(None)
    scores = score_captions(REFERENCES, HYPOTHESES)

    assert tuple(scores.overall) == TEXT_METRICS
    assert {name for name, value in scores.overall.items() if value is None} == {"SPICE"}
    assert scores.unavailable.keys() == {"SPICE"}
    assert all("install a Java runtime" in reason for reason in scores.unavailable.values())
    assert scores.overall == score(REFERENCES, HYPOTHESES, [*PYTHON_METRICS, "METEOR"]).overall | {"SPICE": None}
    assert scores.per_example.keys() == {*PYTHON_METRICS, "METEOR"}
    assert scores.statistics["METEOR"].shape == (4, 23)


def test_score_captions_without_java_when_java_is_asked_for_meteor_is_none(fake_java):
    fake_java(None)
    scores = score(REFERENCES, HYPOTHESES, ["METEOR", "ROUGE_L"], meteor="java")

    assert scores.overall["METEOR"] is None
    assert "install a Java runtime" in scores.unavailable["METEOR"]
    assert "METEOR" not in scores.statistics


def test_score_captions_unknown_meteor_is_refused():
    with pytest.raises(ValueError, match="unknown METEOR 'perl'; there are python, java"):
        score(REFERENCES, HYPOTHESES, ["METEOR"], meteor="perl")


@pytest.mark.java
@pytest.mark.slow  # as meteor/test_scorer.py does with its statistics
def test_score_captions_meteor_of_java_is_ours():
    ours, java = (score(REFERENCES, HYPOTHESES, ["METEOR"], meteor=which) for which in ("python", "java"))

    assert ours.statistics["METEOR"].tolist() == java.statistics["METEOR"].tolist()
    assert ours.overall == java.overall


def test_score_captions_meteor_of_the_corpus_comes_from_summed_statistics(fake_java):
    fake_java(FAKE_METEOR)
    scores = score(REFERENCES, HYPOTHESES, ["METEOR"], meteor="java")

    # Precision and recall are the share of 4 words; all in one chunk unless all match, which costs nothing.
    each = [share * (1 - 0.6 * (1 / (4 * share)) ** 0.2) for share in (3 / 4, 2 / 4)]
    assert scores.per_example["METEOR"] == pytest.approx([*each, 0, 1], abs=1e-15)
    # 9 of 16 words match; chunks are 1 + 1 + 1 (no word, but METEOR says so here) + 0.
    assert scores.overall["METEOR"] == pytest.approx(9 / 16 * (1 - 0.6 * (3 / 9) ** 0.2), abs=1e-15)


def test_score_captions_failing_java_stops_nothing(fake_java):
    fake_java("import sys\nsys.exit('no such jar')")

    scores = score(REFERENCES, HYPOTHESES, ["METEOR", "ROUGE_L"], meteor="java")

    assert scores.unavailable == {"METEOR": "Java ended with exit code 1: no such jar"}
    assert scores.overall == {"METEOR": None} | score(REFERENCES, HYPOTHESES, ["ROUGE_L"]).overall


@pytest.mark.parametrize("exception", [KeyboardInterrupt, RuntimeError])
def test_score_captions_interrupted_leaves_no_java_behind(hanging_java, all_ended, monkeypatch, exception):
    process_ids = []

    def interrupted(*_):
        process_ids.extend(hanging_java())
        raise exception

    monkeypatch.setattr("metrics.scores.rouge.ROUGE_L", Measurement("ROUGE_L", ("ROUGE_L",), at_once(interrupted)))

    with pytest.raises(exception):
        score(REFERENCES, HYPOTHESES, ["METEOR", "ROUGE_L"], meteor="java")

    assert all_ended(process_ids)


def test_score_captions_prints_nothing(capfd):
    score({"a#x": ["red"]}, {"a#x": "red"})

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("ids", [["a#x", "b#x", "c#x", "d#x"], ["d#x", "a#x"], ["b#x", "c#x", "d#x"], ["c#x"]])
def test_caption_scores_subset_equals_scoring_these_alone_without_java(fake_java, ids):
    folder = fake_java(FAKE_METEOR)
    scores = score_captions(REFERENCES, HYPOTHESES)
    alone = score_captions({key: REFERENCES[key] for key in ids}, {key: HYPOTHESES[key] for key in ids})
    (folder / "java").unlink()

    assert_same_scores(scores.subset(ids), alone)


def test_caption_scores_subset_keeps_spice_and_takes_its_mean(monkeypatch):
    @contextmanager
    def running_spice(references, hypotheses):
        yield lambda: np.array([0.1, 0.2, 0.3, 0.6])

    monkeypatch.setattr("metrics.scores.java_metrics.SPICE", Measurement("SPICE", ("SPICE",), running_spice))
    scores = score(REFERENCES, HYPOTHESES, ["SPICE"])

    assert scores.overall == {"SPICE": pytest.approx(0.3)}
    assert scores.subset(["d#x", "a#x"]).per_example["SPICE"].tolist() == [0.6, 0.1]
    assert scores.subset(["d#x", "a#x"]).overall == {"SPICE": pytest.approx(0.35)}


def test_caption_scores_subset_of_a_subset_equals_the_subset():
    scores = score(REFERENCES, HYPOTHESES)

    assert_same_scores(scores.subset(["c#x", "b#x", "a#x"]).subset(["a#x", "b#x"]), scores.subset(["a#x", "b#x"]))


def test_caption_scores_subset_counts_its_own_document_frequencies():
    references = {"a#x": ["red circle"], "b#x": ["red star"], "c#x": ["blue star"]}
    scores = score(references, {"a#x": "red circle", "b#x": "red circle", "c#x": "blue star"}, ["CIDEr"])

    # Among the first two, "red" is in every document and weighs nothing: the second has nothing in common.
    assert scores.per_example["CIDEr"][1] > 0
    assert scores.subset(["a#x", "b#x"]).per_example["CIDEr"] == pytest.approx([5, 0])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a#x", "z#x"], r"1 of 2 ids were not scored \(z#x\)"),
        (["a#x", "b#x", "a#x"], "0 of 3 ids were not scored .*, or some come twice"),
        ([], "no examples to score"),
        (["e#x"], "none of the 1 examples has a reference with a word"),
    ],
)
def test_caption_scores_subset_that_cannot_be_scored_is_refused(ids, message):
    scores = score(REFERENCES | {"e#x": [""]}, HYPOTHESES | {"e#x": "red"})

    with pytest.raises(ValueError, match=message):
        scores.subset(ids)


def test_score_captions_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="unknown metric Bleu_5, cider; there are Bleu_1, .*, SPICE"):
        score(REFERENCES, HYPOTHESES, ["cider", "Bleu_5", "Bleu_4"])


def test_score_captions_other_ids_are_counted_and_listed():
    references = {f"{i}.jpg#x": ["red"] for i in range(7)}

    with pytest.raises(
        ValueError, match=r"6 of 7 examples have no hypothesis \(1.jpg#x, .*, 5.jpg#x, \.\.\.\)"
    ) as error:
        score(references, {"0.jpg#x": "red", "9.jpg#x": "red"})

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
        score(references, dict.fromkeys(references, "red"))


def test_cider_of_one_picture_is_null_with_its_reason_and_so_is_that_of_a_style_of_one():
    references = {"a": ["a dog", "one dog"], "b": ["two men"], "c": ["a red bus"]}
    hypotheses = {"a": "a dog", "b": "two men", "c": "a bus"}
    scores = score_captions(references, hypotheses, metrics=("Bleu_1", "CIDEr"))
    alone = scores.subset(["b"])
    assert scores.overall["CIDEr"] is not None
    assert alone.overall == {"Bleu_1": pytest.approx(1), "CIDEr": None}
    assert "one picture alone" in alone.unavailable["CIDEr"]
    # Two styles of one picture have the same references, so every word is in all documents.
    same = score_captions({"a": ["a dog"], "b": ["a dog"]}, {"a": "a dog", "b": "a cat"}, metrics=("CIDEr",))
    assert same.overall == {"CIDEr": None}


def test_cider_by_another_corpus_is_cider_d_and_a_subset_keeps_its_weights():
    corpus = DocumentFrequency.from_references([["a dog"], ["a man"], ["the sea"]], tokenizer="words", eos=None)
    references, hypotheses = {"x": ["a dog runs"], "y": ["the sea"]}, {"x": "a dog", "y": "a sea"}
    scores = score_captions(references, hypotheses, metrics=("CIDEr",), document_frequency=corpus)
    expected = cider_d([*references.values()], [*hypotheses.values()], corpus)
    assert scores.per_example["CIDEr"] == pytest.approx(expected, abs=1e-12)
    assert scores.subset(["x"]).overall["CIDEr"] == pytest.approx(expected[0], abs=1e-12)
