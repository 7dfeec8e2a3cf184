from __future__ import annotations

import numpy as np
import orjson
import pytest

from metrics import results as results_module
from metrics.baselines import LookedUp
from metrics.coco import score_captions
from metrics.confidence import bootstrap_intervals
from metrics.results import evaluate_captions, write_results
from metrics.scores.bleu import bleu_from_statistics
from metrics.table import TEXT_METRICS
from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many
from utils.io import read_json

WITHOUT_JAVA = tuple(name for name in TEXT_METRICS if name not in ("METEOR", "SPICE"))
REFERENCES = {
    "a.jpg#romantic": ["A red circle, my love."],
    "a.jpg#pirate": ["Arr! A red circle"],
    "b.jpg#romantic": ["A blue star, my love."],
    "b.jpg#pirate": ["Arr! A blue star"],
    "c.jpg#pirate": ["arr a blue star, isn't it?"],
}
STYLES = {example_id: example_id.split("#")[1] for example_id in REFERENCES}
IMAGES = {example_id: example_id.split("#")[0] for example_id in REFERENCES}
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
    "c.jpg#pirate": ["arr a blue star is n't it"],
}
PLAIN_HYPOTHESES = HYPOTHESES | {"a.jpg#romantic": "a red circle my love", "c.jpg#pirate": "arr a blue star"}
TRAIN_CAPTIONS = {"romantic": ["My love!", "A red circle, my love."], "pirate": ["arr a BLUE star", "arr"]}


def of_style(mapping: dict, style: str) -> dict:
    return {example_id: value for example_id, value in mapping.items() if STYLES[example_id] == style}


def evaluate(
    references: dict = REFERENCES, hypotheses: dict = HYPOTHESES, styles: dict | None = STYLES, **other
) -> dict:
    other = {"train_captions": TRAIN_CAPTIONS, "provenance": {}, "metrics": WITHOUT_JAVA, "resamples": 50} | other
    return evaluate_captions(references, hypotheses, styles, **other)


@pytest.fixture(scope="module")
def results() -> dict:
    return evaluate(images=IMAGES, provenance={"split": "hash", "beams": 5}, per_image=True)


@pytest.fixture(scope="module")
def plain_scores():
    return score_captions(PLAIN_REFERENCES, PLAIN_HYPOTHESES, metrics=WITHOUT_JAVA)


def test_evaluate_captions_overall_and_styles_score_ptb_text(results, plain_scores):
    assert results["overall"] == plain_scores.overall
    for style, n in {"romantic": 2, "pirate": 3}.items():
        alone = score_captions(
            of_style(PLAIN_REFERENCES, style), of_style(PLAIN_HYPOTHESES, style), metrics=WITHOUT_JAVA
        )
        assert results["per_style"][style] == {**alone.overall, "n": n}


def test_evaluate_captions_style_counts_its_own_document_frequencies(results):
    # Within the style "my" and "love" are in every caption and weigh nothing; among all examples they weigh something.
    ciders = [results["per_image"][key]["CIDEr"] for key in ("a.jpg#romantic", "b.jpg#romantic")]

    assert results["per_style"]["romantic"]["CIDEr"] < sum(ciders) / 2


def test_evaluate_captions_has_the_agreed_keys_and_serialises(results):
    agreed = {"overall", "per_style", "style", "diversity", "confidence", "unavailable", "n", "provenance"}
    assert set(results) == agreed | {"baseline_constant", "per_image"}
    assert tuple(results["overall"]) == WITHOUT_JAVA
    assert results["n"] == 5
    assert orjson.loads(orjson.dumps(results)) == results


def test_evaluate_captions_provenance_says_what_the_numbers_depend_on(results):
    metrics = results["provenance"]["metrics"]

    assert results["provenance"]["beams"] == 5
    assert (metrics["tokenizer"], metrics["pycocoevalcap"], metrics["java"]) == (TOKENIZER_NAME, "1.2", None)
    assert {"numpy", "scikit-learn", "cider"} <= set(metrics)


def test_evaluate_captions_hash_is_of_the_tokenised_references(results):
    first = results["provenance"]["metrics"]["references_sha256"]
    written_otherwise = {key: [text.upper() for text in texts] for key, texts in reversed(REFERENCES.items())}
    other = REFERENCES | {"a.jpg#pirate": ["Arr! A red circles"]}

    assert evaluate(written_otherwise)["provenance"]["metrics"]["references_sha256"] == first
    assert evaluate(other)["provenance"]["metrics"]["references_sha256"] != first


def test_evaluate_captions_confidence_is_the_bootstrap_over_images(results, plain_scores):
    confidence = results["confidence"]

    assert confidence["overall"] == bootstrap_intervals(plain_scores, IMAGES, resamples=50)
    pirate = plain_scores.subset(list(of_style(REFERENCES, "pirate")))
    assert confidence["per_style"]["pirate"] == bootstrap_intervals(pirate, IMAGES, resamples=50)
    described = {name: confidence[name] for name in ("level", "resamples", "seed", "unit")}
    assert described == {"level": 0.95, "resamples": 50, "seed": 0, "unit": "image"}


def test_evaluate_captions_style_of_one_image_has_no_interval_but_a_reason():
    references = {key: REFERENCES[key] for key in ("a.jpg#romantic", "a.jpg#pirate", "b.jpg#pirate")}
    found = evaluate(
        references,
        {key: HYPOTHESES[key] for key in references},
        {key: STYLES[key] for key in references},
        images={key: IMAGES[key] for key in references},
    )

    assert found["confidence"]["per_style"]["romantic"] == {}
    assert set(found["confidence"]["per_style"]["pirate"]) == set(WITHOUT_JAVA)
    assert "only one image" in found["unavailable"]["confidence/per_style/romantic"]


def test_evaluate_captions_per_image_rows_add_up_to_the_overall(results):
    rows = results["per_image"]
    assert rows["b.jpg#pirate"].items() >= {"image": "b.jpg", "style": "pirate", "CIDEr": 0.0}.items()
    assert sum(row["CIDEr"] for row in rows.values()) / 5 == pytest.approx(results["overall"]["CIDEr"], rel=1e-12)
    totals = np.sum([row["bleu_statistics"] for row in rows.values()], axis=0)
    assert bleu_from_statistics(totals)[3] == pytest.approx(results["overall"]["Bleu_4"], rel=1e-12)


def test_evaluate_captions_baseline_is_the_best_training_caption_of_each_style(results):
    baseline = results["baseline_constant"]
    captions = {"romantic": "a red circle my love", "pirate": "arr a blue star"}

    for style, caption in captions.items():
        texts = of_style(PLAIN_REFERENCES, style)
        expected = score_captions(texts, dict.fromkeys(texts, caption), metrics=("CIDEr",)).overall["CIDEr"]
        assert baseline[style] == {"caption": caption, "CIDEr": pytest.approx(expected, abs=1e-12)}
    constants = {example_id: captions[style] for example_id, style in STYLES.items()}
    assert baseline["overall"] == score_captions(PLAIN_REFERENCES, constants, metrics=("CIDEr",)).overall


def test_evaluate_captions_style_without_training_captions_has_no_baseline_but_a_reason():
    found = evaluate(train_captions={"romantic": ["my love"]})

    assert set(found["baseline_constant"]) == {"romantic", "overall"}
    assert found["baseline_constant"]["overall"] == {"CIDEr": None}
    assert found["unavailable"]["baseline_constant/pirate"] == "no training captions in this style"


def test_evaluate_captions_judge_sees_ptb_text(monkeypatch):
    seen = []
    monkeypatch.setattr(
        results_module, "judge_style", lambda *texts: seen.append(texts) or ({"n": 1}, {"style/x": "y"})
    )

    found = evaluate()

    train = {"romantic": ["my love", "a red circle my love"], "pirate": ["arr a blue star", "arr"]}
    assert seen == [(train, PLAIN_REFERENCES, PLAIN_HYPOTHESES, STYLES)]
    assert found["style"] == {"n": 1}
    assert found["unavailable"] == {"style/x": "y"}


@pytest.mark.parametrize("train_captions", [None, {"": ["a red circle"]}, {"humorous": ["ha ha"]}])
def test_evaluate_captions_without_training_captions_in_its_styles_has_no_judge_but_a_reason(train_captions):
    found = evaluate(train_captions=train_captions)

    assert found["style"] == {}
    assert "no training captions in these styles" in found["unavailable"]["style"]


def test_evaluate_captions_without_training_captions_leaves_the_baseline_out():
    found = evaluate(train_captions=None)

    assert "baseline_constant" not in found
    assert found["diversity"]["copied_share"] is None


def test_evaluate_captions_diversity_is_of_the_captions_of_an_image(results):
    assert results["diversity"]["copied_share"] == 3 / 5  # Twice "a red circle my love", once "arr a blue star".
    assert results["diversity"]["mbleu_4"] is not None
    assert evaluate()["diversity"]["mbleu_4"] is None  # Every example an image of its own.


def test_evaluate_captions_neighbours_are_told_of_ptb_text_and_have_intervals_of_images():
    places = {key: np.array([1, 0] if style == "romantic" else [0, 1]) for key, style in STYLES.items()}

    found = evaluate(images=IMAGES, neighbours=LookedUp(places, 2))

    told = {"romantic": "a red circle my love", "pirate": "arr a blue star"}
    alone = score_captions(PLAIN_REFERENCES, {k: told[s] for k, s in STYLES.items()}, metrics=("CIDEr",))
    overall = found["baseline_neighbours"]["overall"]
    assert overall["CIDEr"] == alone.overall["CIDEr"]
    assert overall["interval"] == bootstrap_intervals(alone, IMAGES, resamples=50)["CIDEr"]
    assert overall["CIDEr"] + overall["gain"] == pytest.approx(found["overall"]["CIDEr"], abs=1e-12)
    pirate = found["baseline_neighbours"]["per_style"]["pirate"]
    assert pirate["CIDEr"] + pirate["gain"] == pytest.approx(found["per_style"]["pirate"]["CIDEr"], abs=1e-12)
    assert orjson.loads(orjson.dumps(found)) == found


def test_evaluate_captions_neighbours_nobody_knows_are_null_with_the_reason():
    found = evaluate(neighbours="no pictures")

    assert found["baseline_neighbours"] is None
    assert found["unavailable"] == {"baseline_neighbours": "no pictures"}


@pytest.mark.parametrize("styles", [None, {}])
def test_evaluate_captions_without_styles_has_overall_numbers_only(styles, results):
    found = evaluate(styles=styles, per_image=True)

    assert found["overall"] == results["overall"]
    assert (found["per_style"], found["style"], found["confidence"]["per_style"]) == ({}, {}, {})
    assert found["unavailable"] == {}
    assert "style" not in found["per_image"]["a.jpg#pirate"]
    # Of the four training captions this one is best for all five examples, whatever their style.
    assert found["baseline_constant"]["overall"]["caption"] == "arr a blue star"


def test_evaluate_captions_metrics_asked_for_are_the_only_ones():
    found = evaluate(metrics=("CIDEr",), per_image=True)

    assert list(found["overall"]) == list(found["confidence"]["overall"]) == ["CIDEr"]
    assert set(found["per_style"]["pirate"]) == {"CIDEr", "n"}
    assert set(found["per_image"]["a.jpg#pirate"]) == {"image", "style", "CIDEr"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"styles": of_style(STYLES, "pirate")}, r"2 of 5 examples have no style \(a.jpg#romantic, b.jpg#romantic\)"),
        ({"images": of_style(IMAGES, "romantic")}, r"3 of 5 examples have no image \(a.jpg#pirate, "),
        ({"hypotheses": HYPOTHESES | {"d.jpg#x": ""}}, r"1 have a hypothesis but no references \(d.jpg#x\)"),
    ],
)
def test_evaluate_captions_other_ids_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        evaluate(**change)


def test_evaluate_captions_style_without_a_word_is_null_with_its_reason():
    references = {"a": ["a dog runs"], "b": ["a cat sits"], "c": ["? !"]}

    found = evaluate(
        references, dict.fromkeys(references, "a dog"), {"a": "plain", "b": "plain", "c": "odd"},
        train_captions={"plain": ["a dog"]},
    )  # fmt: skip

    assert found["per_style"]["odd"] == dict.fromkeys(WITHOUT_JAVA) | {"n": 1}
    assert "reference with a word" in found["unavailable"]["per_style/odd"]
    assert found["per_style"]["plain"]["Bleu_1"] > 0
    assert "odd" not in found["confidence"]["per_style"]


def test_evaluate_captions_each_kind_of_text_is_tokenised_by_itself():
    # Before a line that begins with "The", an initial loses its period. No hypothesis must do that to a reference.
    assert tokenize_many(["plan B.", "The red"])[0] != tokenize_many(["plan B.", "the red"])[0]
    references = {"a": ["A red circle"], "b": ["plan B."]}
    found = [
        evaluate(references, {"a": first, "b": "x"}, None, train_captions=None)["provenance"]["metrics"]
        for first in ("The red", "the red")
    ]

    assert found[0] == found[1]


@pytest.mark.java
def test_evaluate_captions_java_metrics_stand_beside_the_others(shared):
    folder = shared / "data" / "coco_fakecap"
    annotations = read_json(folder / "captions_val2014_fakecap1000.json")["annotations"]
    references: dict[str, list[str]] = {}
    for row in annotations:
        references.setdefault(str(row["image_id"]), []).append(row["caption"])
    hypotheses = {
        str(row["image_id"]): row["caption"] for row in read_json(folder / "captions_val2014_fakecap_results.json")
    }

    found = evaluate(references, hypotheses, None, train_captions=None, metrics=TEXT_METRICS, per_image=True)

    digits = {name: f"{value:.3f}" for name, value in found["overall"].items() if value is not None}
    published = {"Bleu_1": "0.579", "Bleu_2": "0.404", "Bleu_3": "0.279", "Bleu_4": "0.191"}
    published |= {"METEOR": "0.195", "ROUGE_L": "0.396", "CIDEr": "0.600"}
    assert digits.items() >= published.items()
    low, high = found["confidence"]["overall"]["METEOR"]
    assert low < found["overall"]["METEOR"] < high
    assert len(found["per_image"]["404464"]["meteor_statistics"]) == 23
    assert found["provenance"]["metrics"]["java"]
    assert found["provenance"]["metrics"]["meteor"] == "1.5, without Java (metrics.meteor)"


def test_write_results_is_json_with_a_line_for_each_image(tmp_path):
    results = {"overall": {"CIDEr": 1.5}, "n": 2, "per_image": {"a": {"CIDEr": 1.0}, 'b"': {"CIDEr": 2.0}}}
    path = tmp_path / "eval/val.json"
    write_results(path, results)
    assert orjson.loads(path.read_bytes()) == results
    assert '    "a": {"CIDEr":1.0},' in path.read_text().splitlines()
    write_results(path, {"n": 2})
    assert orjson.loads(path.read_bytes()) == {"n": 2}


def test_evaluate_captions_string_for_references_is_refused():
    with pytest.raises(ValueError, match=r"1 examples \('1', ...\) have a string for references"):
        evaluate_captions({"1": "a dog"}, {"1": "a dog"}, None, train_captions=None, provenance={})
