from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.style_judges import read_flickrstyle, read_senticap
from metrics.style.judge import StyleClassifier, judge_style
from metrics.style.language_model import NgramLanguageModel

ENDINGS = {
    "pirate": ["arr matey", "says the captain", "and a bottle of rum"],
    "romantic": ["my love", "dreaming of her lover", "with all his heart"],
}
SUBJECTS = ["a dog", "two cats", "an old man", "a girl", "the children", "a horse"]
PLACES = ["in the snow", "on a beach", "near the house", "in a field"]


def write_captions(style: str, number: int, seed: int = 0) -> list[str]:
    pick = random.Random(f"{style} {seed}").choice
    return [f"{pick(SUBJECTS)} {pick(PLACES)} {pick(ENDINGS[style])}" for _ in range(number)]


TRAIN = {style: write_captions(style, 40) for style in ENDINGS}


@pytest.fixture(scope="module")
def classifier() -> StyleClassifier:
    return StyleClassifier.fit(TRAIN)


def test_style_classifier_names_the_style_of_new_captions(classifier):
    assert classifier.styles == ("pirate", "romantic")
    for style in ENDINGS:
        assert classifier.predict([f"a bird on the roof {ending}" for ending in ENDINGS[style]]) == [style] * 3


@given(captions=st.lists(st.text(max_size=30), max_size=5))
@settings(max_examples=100, deadline=None)
def test_style_classifier_any_text_has_probabilities_that_do_not_depend_on_its_company(classifier, captions):
    probabilities = classifier.probabilities(captions)

    assert probabilities.shape == (len(captions), 2)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(captions)), abs=1e-12)
    for caption, row in zip(captions, probabilities, strict=True):
        assert classifier.probabilities([caption])[0].tolist() == row.tolist()


def test_style_classifier_likeliest_style_is_the_predicted_one(classifier):
    captions = write_captions("pirate", 20, seed=1) + write_captions("romantic", 20, seed=1)
    likeliest = classifier.probabilities(captions).argmax(axis=1)

    assert classifier.predict(captions) == [classifier.styles[column] for column in likeliest]


def test_style_classifier_same_captions_give_the_same_classifier(classifier):
    captions = write_captions("pirate", 20, seed=1) + [""]
    other_order = {style: TRAIN[style] for style in reversed(TRAIN)}

    for again in (StyleClassifier.fit(TRAIN), StyleClassifier.fit(other_order)):
        assert again.probabilities(captions).tolist() == classifier.probabilities(captions).tolist()


def test_style_classifier_frequent_style_is_not_favoured():
    train = {"pirate": ["a dog arr"] * 28 + ["a dog love"] * 12, "romantic": ["a dog arr"] * 240 + ["a dog love"] * 560}
    classifier = StyleClassifier.fit(train)

    # "arr" is in 70% of the pirates' captions and in 30% of the romantic ones, which are twenty times as many: of the
    # captions with "arr" 28 are pirates' and 240 romantic.
    assert classifier.predict(["a dog arr", "a dog love"]) == ["pirate", "romantic"]
    assert classifier.probabilities(["a dog arr", "a dog love"]).max(axis=1) == pytest.approx([0.7, 0.7], abs=0.03)


def test_style_classifier_many_styles_with_few_captions_are_learnt():
    train = {f"style {i}": [f"{subject} word{i}" for subject in SUBJECTS] for i in range(40)}
    classifier = StyleClassifier.fit(train)

    assert classifier.predict([f"a bird word{i}" for i in range(40)]) == [f"style {i}" for i in range(40)]
    assert classifier.probabilities(["a bird"]).shape == (1, 40)


def test_style_classifier_one_style_is_certain_and_empty_styles_are_left_out():
    classifier = StyleClassifier.fit({"pirate": ["arr", ""], "romantic": [], "factual": ["", " "]})

    assert classifier.styles == ("pirate",)
    assert classifier.probabilities(["my love", ""]).tolist() == [[1.0], [1.0]]
    assert classifier.predict(["my love"]) == ["pirate"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_style_classifier_few_captions_are_enough_to_run(number):
    classifier = StyleClassifier.fit({"pirate": ["arr matey"] * number, "romantic": ["my love"] * number})

    assert classifier.predict(["arr matey", "my love"]) == ["pirate", "romantic"]


def test_style_classifier_styles_with_the_same_captions_are_equally_likely():
    classifier = StyleClassifier.fit({"a": TRAIN["pirate"], "b": TRAIN["pirate"]})

    assert classifier.probabilities(TRAIN["pirate"]) == pytest.approx(np.full((40, 2), 0.5), abs=1e-3)


def test_style_classifier_without_a_word_is_refused():
    with pytest.raises(ValueError, match="none of the 2 styles has a caption with a word"):
        StyleClassifier.fit({"a": [], "b": [""]})


def test_style_classifier_saved_and_loaded_gives_exactly_the_same(classifier, tmp_path):
    captions = write_captions("pirate", 20, seed=1) + ["", "zebras"]
    path = tmp_path / "new" / "judge.npz"
    classifier.save(path)
    loaded = StyleClassifier.load(path)

    assert (loaded.styles, loaded.description) == (classifier.styles, classifier.description)
    assert loaded.probabilities(captions).tolist() == classifier.probabilities(captions).tolist()
    assert [file.name for file in path.parent.iterdir()] == ["judge.npz"]
    loaded.save(tmp_path / "again.npz")
    assert StyleClassifier.load(tmp_path / "again.npz").probabilities(captions).tolist() == (
        classifier.probabilities(captions).tolist()
    )


def test_style_classifier_one_style_with_a_strange_name_is_saved_and_loaded(tmp_path):
    name = "é \ud800 zero\0"
    StyleClassifier.fit({name: ["arr"]}).save(tmp_path / "one.npz")

    assert StyleClassifier.load(tmp_path / "one.npz").styles == (name,)


@pytest.mark.parametrize("length", [0, 10, 1000, -10])
def test_style_classifier_truncated_file_is_refused(classifier, tmp_path, length):
    path = tmp_path / "judge.npz"
    classifier.save(path)
    path.write_bytes(path.read_bytes()[:length])

    with pytest.raises(ValueError, match=r"judge.npz: not a stylecap style classifier 1, or damaged .* save it again"):
        StyleClassifier.load(path)


def test_style_classifier_flipped_bit_is_refused(classifier, tmp_path):
    path = tmp_path / "judge.npz"
    classifier.save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    with pytest.raises(ValueError, match="judge.npz: not a stylecap style classifier 1, or damaged"):
        StyleClassifier.load(path)


def damaged_arrays(path: Path, **changes: np.ndarray) -> Path:
    with np.load(path) as file:
        np.savez(path, **{**file, **changes})
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": np.array('{"format": "other 7", "styles": ["a", "b"]}')}, "its format is 'other 7'"),
        ({"header": np.array("[]")}, "list indices"),
        ({"intercepts": np.zeros(3)}, "for 2 styles"),
        ({"weights": np.zeros(3)}, "for 2 styles"),
        ({"columns": np.array([[1]])}, "for 2 styles"),
        ({"columns": np.array([{}], dtype=object)}, "allow_pickle=False"),
    ],
)
def test_style_classifier_file_of_another_kind_is_refused_with_its_reason(classifier, tmp_path, changes, reason):
    path = tmp_path / "judge.npz"
    classifier.save(path)

    with pytest.raises(ValueError, match=f"judge.npz: not a stylecap style classifier 1, or damaged .*{reason}"):
        StyleClassifier.load(damaged_arrays(path, **changes))


def test_style_classifier_file_with_features_that_do_not_exist_is_refused(classifier, tmp_path):
    path = tmp_path / "judge.npz"
    classifier.save(path)
    with np.load(path) as file:
        columns = file["columns"] + 2**30

    with pytest.raises(ValueError, match="features that do not exist"):
        StyleClassifier.load(damaged_arrays(path, columns=columns))


def test_style_classifier_absent_file_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="judge.npz: no such file"):
        StyleClassifier.load(tmp_path / "judge.npz")


REFERENCES = {
    "1#p": ["a dog says the captain", "a dog arr matey", "two cats dreaming of her lover"],
    "2#p": ["two cats and a bottle of rum"],
    "1#r": ["a dog with all his heart"],
    "2#r": ["two cats my love"],
    "3#r": ["a horse my love"],
}
STYLES = {example_id: "pirate" if example_id.endswith("p") else "romantic" for example_id in REFERENCES}
HYPOTHESES = {
    "1#p": "a dog arr matey",
    "2#p": "two cats my love",
    "1#r": "a horse my love",
    "2#r": "",
    "3#r": "my love",
}


def test_judge_style_by_hand():
    results, missing = judge_style(TRAIN, REFERENCES, HYPOTHESES, STYLES)

    # Right: 1#p, 1#r and 3#r of five. Of the references one of the three of 1#p is wrong: (2/3 + 1) / 2 for pirates.
    assert missing == {}
    assert results["accuracy"] == pytest.approx(3 / 5, abs=1e-15)
    assert results["judge_accuracy"] == pytest.approx((2 / 3 + 4) / 5, abs=1e-15)
    assert results["chance"] == 3 / 5
    assert (results["train_captions"], results["held_out_captions"]) == (80, 7)
    assert results["per_style"]["pirate"]["accuracy"] == 1 / 2
    assert results["per_style"]["pirate"]["judge_accuracy"] == pytest.approx(5 / 6, abs=1e-15)
    assert results["per_style"]["romantic"]["accuracy"] == 2 / 3
    assert results["per_style"]["romantic"]["judge_accuracy"] == 1
    assert [results["per_style"][style]["n"] for style in ("pirate", "romantic")] == [2, 3]
    # The empty caption is in no column.
    assert results["confusion"] == {"styles": ["pirate", "romantic"], "counts": [[1, 1], [0, 2]]}
    assert "log-ratio" in results["judge"] or "idf" in results["judge"]


def test_judge_style_perplexities_are_those_of_the_styles_own_language_model():
    per_style = judge_style(TRAIN, REFERENCES, HYPOTHESES, STYLES)[0]["per_style"]
    model = NgramLanguageModel.fit(TRAIN["pirate"])

    assert per_style["pirate"]["perplexity"] == model.perplexity(["a dog arr matey", "two cats my love"])
    assert per_style["pirate"]["reference_perplexity"] == model.perplexity(REFERENCES["1#p"] + REFERENCES["2#p"])


@pytest.mark.parametrize(
    ("train_captions", "reason"),
    [
        ({}, r"training captions of two styles; there are 0 \(\)"),
        ({"pirate": ["arr"], "romantic": ["", " "]}, r"training captions of two styles; there are 1 \(pirate\)"),
    ],
)
def test_judge_style_fewer_than_two_styles_to_learn_is_empty_with_the_reason(train_captions, reason):
    results, missing = judge_style(train_captions, REFERENCES, HYPOTHESES, STYLES)

    assert results == {}
    assert list(missing) == ["style"]
    with pytest.raises(ValueError, match=reason):
        raise ValueError(missing["style"])


def test_judge_style_style_that_was_never_learnt_has_no_perplexity_but_a_reason():
    styles = STYLES | {"3#r": "sweet"}
    results, missing = judge_style(TRAIN, REFERENCES, HYPOTHESES, styles)

    assert missing == {"style/sweet": "no training caption in this style: the judge cannot name it"}
    assert results["per_style"]["sweet"] == {
        "accuracy": 0,
        "judge_accuracy": 0,
        "n": 1,
        "perplexity": None,
        "reference_perplexity": None,
    }
    assert results["confusion"]["styles"] == ["pirate", "romantic", "sweet"]
    assert results["confusion"]["counts"][2] == [0, 1, 0]


def test_judge_style_learnt_style_that_nobody_asked_for_has_a_column():
    train = TRAIN | {"sweet": ["so sweet", "how sweet of you", "sweet sweet sugar"] * 5}
    results, missing = judge_style(train, REFERENCES, HYPOTHESES | {"1#p": "so sweet"}, STYLES)

    assert missing == {}
    assert set(results["per_style"]) == {"pirate", "romantic"}
    assert results["confusion"]["styles"] == ["pirate", "romantic", "sweet"]
    assert results["confusion"]["counts"] == [[0, 1, 1], [0, 2, 0], [0, 0, 0]]


def test_judge_style_ids_that_differ_are_refused():
    with pytest.raises(ValueError, match=r"1 of 5 examples have no hypothesis \(3#r\)"):
        judge_style(TRAIN, REFERENCES, {key: HYPOTHESES[key] for key in list(REFERENCES)[:4]}, STYLES)
    with pytest.raises(ValueError, match=r"1 have a style but no references \(9#x\)"):
        judge_style(TRAIN, REFERENCES, HYPOTHESES, STYLES | {"9#x": "pirate"})
    with pytest.raises(ValueError, match="no captions to judge"):
        judge_style(TRAIN, {}, {}, {})


def accuracy_and_confidence(train: dict[str, list[str]], test: dict[str, list[str]]) -> tuple[float, float]:
    classifier = StyleClassifier.fit(train)
    probabilities = classifier.probabilities([caption for style in classifier.styles for caption in test[style]])
    targets = np.repeat(np.arange(len(test)), [len(test[style]) for style in classifier.styles])
    return float(np.mean(probabilities.argmax(axis=1) == targets)), float(probabilities.max(axis=1).mean())


def test_style_classifier_senticap_test_sentences_are_told_apart_and_confidence_is_accuracy(shared):
    accuracy, confidence = accuracy_and_confidence(*read_senticap(shared / "data"))

    assert accuracy >= 0.992
    assert confidence == pytest.approx(accuracy, abs=0.005)


@pytest.mark.slow
def test_style_classifier_flickrstyle_development_captions_beat_the_plain_judge(shared):
    accuracy, _ = accuracy_and_confidence(*read_flickrstyle(shared / "data"))

    assert accuracy >= 0.715
