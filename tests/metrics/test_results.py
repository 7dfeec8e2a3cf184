from __future__ import annotations

import orjson
import pytest

from metrics.coco import METRIC_NAMES, score_captions
from metrics.results import caption_diversity, evaluate_captions

REFERENCES = {
    "a.jpg#romantic": ["A red circle, my love."],
    "a.jpg#pirate": ["Arr! A red circle"],
    "b.jpg#romantic": ["A blue star, my love."],
    "b.jpg#pirate": ["Arr! A blue star"],
    "c.jpg#pirate": ["arr a blue star"],
}
STYLES = {example_id: example_id.split("#")[1] for example_id in REFERENCES}
HYPOTHESES = {
    "a.jpg#romantic": "a red circle my LOVE",
    "a.jpg#pirate": "a red circle",
    "b.jpg#romantic": "a red circle my love",
    "b.jpg#pirate": "",
    "c.jpg#pirate": "Arr, a blue star!",
}
PLAIN_REFERENCES = {
    "a.jpg#romantic": ["a red circle my love"],
    "a.jpg#pirate": ["arr a red circle"],
    "b.jpg#romantic": ["a blue star my love"],
    "b.jpg#pirate": ["arr a blue star"],
    "c.jpg#pirate": ["arr a blue star"],
}
PLAIN_HYPOTHESES = HYPOTHESES | {"a.jpg#romantic": "a red circle my love", "c.jpg#pirate": "arr a blue star"}


def of_style(mapping: dict, style: str) -> dict:
    return {example_id: value for example_id, value in mapping.items() if STYLES[example_id] == style}


@pytest.fixture
def results() -> dict:
    train_captions = {"romantic": ["My love!", "A red circle, my love."], "pirate": ["arr a BLUE star", "arr"]}
    return evaluate_captions(
        REFERENCES, HYPOTHESES, STYLES, train_captions=train_captions, provenance={"split": "hash", "beams": 5}
    )


def test_evaluate_captions_overall_and_styles_score_normalized_text(results):
    assert results["overall"] == score_captions(PLAIN_REFERENCES, PLAIN_HYPOTHESES).overall
    for style, n in {"romantic": 2, "pirate": 3}.items():
        alone = score_captions(of_style(PLAIN_REFERENCES, style), of_style(PLAIN_HYPOTHESES, style))
        assert results["per_style"][style] == {**alone.overall, "n": n}


def test_evaluate_captions_style_counts_its_own_document_frequencies(results):
    # Within the style "my" and "love" are in every caption and weigh nothing; among all examples they weigh something.
    in_all = score_captions(PLAIN_REFERENCES, PLAIN_HYPOTHESES).per_example
    mean = (in_all["a.jpg#romantic"]["CIDEr"] + in_all["b.jpg#romantic"]["CIDEr"]) / 2

    assert results["per_style"]["romantic"]["CIDEr"] < mean


def test_evaluate_captions_has_the_agreed_keys_and_serialises(results):
    agreed = {"overall", "per_style", "style", "diversity", "confidence", "unavailable", "n", "provenance"}
    assert set(results) == agreed | {"baseline_constant"}
    assert tuple(results["overall"]) == METRIC_NAMES
    assert results["n"] == 5
    assert results["provenance"]["beams"] == 5
    assert results["provenance"]["metrics"]["pycocoevalcap"] == "1.2"
    assert orjson.loads(orjson.dumps(results)) == results


def test_evaluate_captions_baseline_is_the_best_training_caption_of_each_style(results):
    baseline = results["baseline_constant"]
    captions = {"romantic": "a red circle my love", "pirate": "arr a blue star"}

    for style, caption in captions.items():
        texts = of_style(PLAIN_REFERENCES, style)
        expected = score_captions(texts, dict.fromkeys(texts, caption)).overall["CIDEr"]
        assert baseline[style] == {"caption": caption, "CIDEr": pytest.approx(expected, abs=1e-12)}
    constants = {example_id: captions[style] for example_id, style in STYLES.items()}
    assert baseline["overall"] == {"CIDEr": score_captions(PLAIN_REFERENCES, constants).overall["CIDEr"]}


def test_evaluate_captions_style_without_training_captions_has_no_baseline_but_a_reason():
    results = evaluate_captions(REFERENCES, HYPOTHESES, STYLES, train_captions={"romantic": ["my love"]}, provenance={})

    assert set(results["baseline_constant"]) == {"romantic", "overall"}
    assert results["baseline_constant"]["overall"] == {"CIDEr": None}
    assert results["unavailable"]["baseline_constant/pirate"] == "no training captions in this style"
    assert "SPICE" in results["unavailable"]


def test_evaluate_captions_without_training_captions_leaves_the_baseline_out():
    results = evaluate_captions(REFERENCES, HYPOTHESES, STYLES, train_captions=None, provenance={})

    assert "baseline_constant" not in results


def test_evaluate_captions_example_without_style_is_refused():
    styles = {example_id: style for example_id, style in STYLES.items() if example_id != "b.jpg#pirate"}

    with pytest.raises(ValueError, match=r"1 of 5 examples have no style \(b.jpg#pirate\)"):
        evaluate_captions(REFERENCES, HYPOTHESES, styles, train_captions=None, provenance={})


def test_caption_diversity_by_hand():
    diversity = caption_diversity(["a dog a dog", "a cat", "a cat", ""])

    # Words a dog a dog a cat a cat: 3 of 8. Bigrams (a dog) (dog a) (a dog) (a cat) (a cat): 3 of 5. Captions: 3 of 4.
    assert diversity == {"distinct_1": 3 / 8, "distinct_2": 3 / 5, "unique_captions": 3 / 4, "mean_length": 2.0}


@pytest.mark.parametrize("captions", [[], ["", ""]])
def test_caption_diversity_without_words_is_zero(captions):
    diversity = caption_diversity(captions)

    assert (diversity["distinct_1"], diversity["distinct_2"], diversity["mean_length"]) == (0, 0, 0)


def test_evaluate_captions_style_without_a_word_is_null_with_its_reason():
    references = {"a": ["a dog runs"], "b": ["a cat sits"], "c": ["?!"]}
    styles = {"a": "plain", "b": "plain", "c": "odd"}
    results = evaluate_captions(
        references, dict.fromkeys(references, "a dog"), styles, train_captions={"plain": ["a dog"]}, provenance={}
    )
    assert results["per_style"]["odd"]["CIDEr"] is None
    assert results["per_style"]["odd"]["n"] == 1
    assert "reference with a word" in results["unavailable"]["per_style/odd"]
    assert results["per_style"]["plain"]["Bleu_1"] > 0
