from __future__ import annotations

import logging
import math
import pickle
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from metrics.scores.cider import PreparedReferences
from metrics.scores.document_frequency import EOS, DocumentFrequency
from metrics.style.judge import StyleClassifier
from metrics.tokenizers.ptb import TOKENIZER_NAME, tokenize_many
from models.style_lm import StyleLM
from preprocessors.documents.training import train_tokenizer
from preprocessors.examples import CaptionExample
from preprocessors.text.styles import StyleRegistry
from trainers.rewards.setup import build_rewards, check_references, tokenize_references, training_document_frequency
from trainers.rewards.table import REWARD_TERMS
from trainers.rewards.terms import (
    RewardData,
    RewardRequest,
    bleu_4,
    cider_d,
    length,
    meteor,
    repetition,
    style_probability,
)

REFERENCES = [["a dog runs fast", "the dog is running"], ["two men"], ["a cat sleeps on a red sofa today"]]
STYLES = ["happy", "sad", "happy"]


@pytest.fixture(scope="module")
def fluency_lm(tmp_path_factory) -> Path:
    """Folder of a tiny language model of the two styles."""
    folder = tmp_path_factory.mktemp("lm")
    tokenizer = train_tokenizer([text for texts in REFERENCES for text in texts], 280)
    StyleLM.new(tokenizer, StyleRegistry(sorted({*STYLES})), positions=32, seed=1).save_to_dir(folder)
    return folder


def example(number: int, *captions: str) -> CaptionExample:
    return CaptionExample(f"{number}.jpg#happy", Path("x.jpg"), "happy", captions, "train.json", number)


def test_cider_d_term_cut_off_caption_has_no_eos():
    documents = DocumentFrequency.from_references(REFERENCES, tokenizer="words", eos=EOS)

    scores = cider_d(RewardData(REFERENCES, document_frequency=documents))(
        ["a dog runs fast", "a dog runs fast"], [0, 0], [True, False]
    )

    # Written out, without the document frequencies' own rule for the end.
    plain = DocumentFrequency.from_references(
        [[f"{text} {EOS}" for text in texts] for texts in REFERENCES], tokenizer="words", eos=None
    )
    written_out = PreparedReferences([[f"{text} {EOS}" for text in texts] for texts in REFERENCES], plain)
    expected = written_out.score([f"a dog runs fast {EOS}", "a dog runs fast"], [0, 0])
    assert scores.tolist() == expected.tolist()
    assert scores[0] > scores[1] > 0


def test_bleu_4_term_by_hand():
    scores = bleu_4(RewardData(REFERENCES))(["a dog runs home", "two men", "a", "", "x"], [0, 1, 2, 1, 1], [True] * 5)

    # "a dog runs home" against "a dog runs fast": 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, 0 of 1 quadruple; one
    # more of each but the words: 3/4, 3/4, 2/3, 1/2. Lengths are equal.
    # "two men": 2/2, 2/2, and 1/1 twice. "a": 1/1 four times, but 1 word for 8, so exp(1 - 8).
    assert scores[:3] == pytest.approx([(3 / 4 * 3 / 4 * 2 / 3 / 2) ** 0.25, 1, math.exp(-7)], rel=1e-8)
    assert scores[3] == 0
    assert 0 <= scores[4] < 1e-3  # The 0 that keeps pycocoevalcap's logarithm finite.


def test_meteor_term_is_meteor_of_each_caption_alone():
    scores = meteor(RewardData(REFERENCES))(["a dog runs fast", "two men run", "a dog", ""], [0, 1, 2, 1], [True] * 4)

    # "two men" of "two men run": 2 words of 3 and of 2 in one chunk; "two" is a function word of weight 1/4, not 3/4.
    mean = 1 / (0.15 / ((0.75 + 0.25) / (2 * 0.75 + 0.25)) + 0.85 / 1)
    assert scores[:2] == pytest.approx([1, mean * (1 - 0.6 * (1 / 2) ** 0.2)], abs=1e-12)
    assert 0 < scores[2] < 0.5
    assert scores[3] == 0


def test_meteor_term_without_its_files_is_refused_before_training(monkeypatch):
    def missing():
        raise FileNotFoundError("METEOR needs a jar")

    monkeypatch.setattr("metrics.scores.meteor.open_reader", missing)

    with pytest.raises(ValueError, match="reward 'meteor': METEOR needs a jar"):
        meteor(RewardData(REFERENCES))


def test_style_term_is_the_probability_of_the_row_s_style():
    captions = {
        "happy": ["a lovely dog", "what a lovely day", "lovely"],
        "sad": ["a lonely dog", "so lonely", "lonely"],
    }
    classifier = StyleClassifier.fit(captions)

    scores = style_probability(classifier, ["sad", "happy"])(
        ["a lovely dog", "a lovely dog", ""], [0, 1, 1], [True] * 3
    )

    happy = classifier.probabilities(["a lovely dog"])[0, 0]
    assert happy > 0.5
    assert scores.tolist() == [pytest.approx(1 - happy, abs=1e-12), happy, 0]


def test_repetition_term_by_hand():
    hypotheses = ["a dog runs", "dog dog dog", "a b a b", "dog", ""]

    scores = repetition(RewardData(REFERENCES))(hypotheses, [0] * 5, [True] * 5)

    # 3 words and 2 pairs, all different; 3 + 2 of which 1 + 1 differ; 4 + 3 of which 2 + 2 differ.
    assert scores == pytest.approx([0, 2 / 5 - 1, 4 / 7 - 1, 0, 0], abs=1e-15)


def test_length_term_by_hand():
    references = [["a b c d", "a b c d e f"], ["a"]]  # 5 words on average, and 1.

    scores = length(RewardData(references))(
        ["a b c d e", "a b c", "", "a " * 7, "a " * 11, "a b"], [0, 0, 0, 0, 0, 1], [True] * 6
    )

    assert scores == pytest.approx([0, -2 / 5, -1, -2 / 5, -1, -1], abs=1e-15)


def test_build_rewards_total_is_the_weighted_sum_of_the_terms(fluency_lm):
    weights = {"cider_d": 0.5, "bleu_4": 2.0, "meteor": 3.0, "style": 0.0, "repetition": 1.0, "length": -1.0}
    weights["fluency"] = 0.1
    request = RewardRequest([0, 2, 1], ["A dog runs, fast.", "a cat sleeps", ""], [True, False, True])

    with build_rewards(REFERENCES, weights, styles=STYLES, fluency_lm=fluency_lm, workers=1) as rewards:
        rewards.submit(lambda: request)
        total, terms, answered = rewards.result()

    assert answered is request
    assert list(terms) == list(weights) == list(REWARD_TERMS)
    expected = sum(weight * terms[name] for name, weight in weights.items())
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-14)
    documents = DocumentFrequency.from_references(REFERENCES, tokenizer=TOKENIZER_NAME, eos=EOS)
    own = cider_d(RewardData(REFERENCES, document_frequency=documents))(
        ["a dog runs fast", "a cat sleeps", ""], request.rows, request.ended
    )
    assert terms["cider_d"].tolist() == own.tolist()
    assert [terms["style"][2], terms["length"][2]] == [0, -1]


@pytest.mark.parametrize("rows", [slice(0, 3), slice(3, 4), slice(4, 9)])
def test_build_rewards_reward_does_not_depend_on_the_captions_beside_it(rows, fluency_lm):
    # In one text the period of "z." would go or stay with what comes next.
    hypotheses = ["family z.", "A dog", "two men", "family z.", "dogs", "a", "", "a dog runs", "the dog"]
    request = RewardRequest([0, 1, 2] * 3, hypotheses, [True, False, True] * 3)
    assert tokenize_many(hypotheses)[0] != tokenize_many(hypotheses)[3]

    weights = dict.fromkeys(REWARD_TERMS, 1.0)
    with build_rewards(REFERENCES, weights, styles=STYLES, fluency_lm=fluency_lm, workers=0) as rewards:
        rewards.submit(lambda: request)
        rewards.submit(lambda: RewardRequest(*(values[rows] for values in request)))
        whole, part = rewards.result(), rewards.result()

    for name in REWARD_TERMS.keys() - {"fluency"}:
        assert part.terms[name].tolist() == whole.terms[name][rows].tolist()
    np.testing.assert_allclose(part.terms["fluency"], whole.terms["fluency"][rows], rtol=0, atol=1e-5)


def test_tokenize_references_leaves_out_captions_without_a_word():
    examples = [example(1, "A dog!", "...", "Two dogs."), example(2, "a cat")]
    assert tokenize_references(examples) == [["a dog", "two dogs"], ["a cat"]]


def test_check_references_counts_and_names_the_first_five_rows():
    rows = [example(number, "...", " ") for number in range(1, 7)]
    message = (
        r"7 of 8 training rows have no reference to reward against \(train\.json, row 1: captions without a word; "
        r"train\.json, row 2: .* train\.json, row 5: captions without a word; \.\.\.\)"
    )
    with pytest.raises(ValueError, match=message):
        tokenize_references([*rows, example(7), example(8, "a dog")])
    with pytest.raises(ValueError, match=r"1 of 1 .* \(7\.jpg: no captions\)"):
        check_references([[]], ["7.jpg"])
    with pytest.raises(ValueError, match="no training captions"):
        check_references([], [])


def test_build_rewards_style_of_one_style_is_refused():
    with pytest.raises(ValueError, match="reward 'style': all captions are in the style 'happy'"):
        build_rewards(REFERENCES, {"style": 1.0}, styles=["happy"] * 3)


def test_style_term_style_without_captions_is_refused():
    classifier = StyleClassifier.fit({"happy": ["lovely"], "sad": ["lonely"]})
    with pytest.raises(ValueError, match="no captions in the style 'angry'; known: happy, sad"):
        style_probability(classifier, ["sad", "angry"])


def test_training_document_frequency_is_counted_then_found_again(tmp_path):
    folder = tmp_path / "cache"

    first = training_document_frequency(REFERENCES, folder, None)
    assert not folder.exists()
    first.save()
    second = training_document_frequency(REFERENCES, folder, None)
    second.save()

    assert [path.suffix for path in folder.iterdir()] == [".npz"]
    assert second.cache_file is None
    assert second.document_frequency.documents.tolist() == first.document_frequency.documents.tolist()
    assert (first.document_frequency.num_documents, first.document_frequency.eos) == (3, "<eos>")
    assert first.document_frequency.lookup("today <eos>") == 1


@pytest.mark.parametrize("suffix", [".npz", ".p"])
def test_document_frequency_of_others_without_an_end_of_caption_needs_a_word(tmp_path, caplog, suffix):
    """Their rewards are those of CIDEr-D without EOS as a word, cut off or not."""
    chosen = tmp_path / f"words{suffix}"
    counted = DocumentFrequency.from_references(REFERENCES, tokenizer=TOKENIZER_NAME, eos=None)
    if suffix == ".npz":
        counted.save(chosen)
    else:
        ngrams = {word for texts in REFERENCES for text in texts for word in text.split()}
        counts = {(word,): counted.lookup(word) for word in ngrams}
        chosen.write_bytes(pickle.dumps({"document_frequency": counts, "ref_len": counted.num_documents}))
    with pytest.raises(ValueError, match=r"end of caption.*scst\.document_frequency_eos to false"):
        training_document_frequency(REFERENCES, tmp_path, chosen)
    found = training_document_frequency(REFERENCES, tmp_path, chosen, counts_eos=False)
    assert f"{chosen} counts no end of caption" in caplog.text
    reward = cider_d(RewardData(REFERENCES, document_frequency=found.document_frequency))
    texts, rows = [texts[0] for texts in REFERENCES], range(len(REFERENCES))
    ended, cut = (reward(texts, rows, [flag] * len(texts)) for flag in (True, False))
    assert ended.tolist() == cut.tolist()
    if suffix == ".npz":
        expected = PreparedReferences(REFERENCES, counted).score(texts, rows)
        assert ended.tolist() == expected.tolist()


@pytest.mark.parametrize(
    "other", [[["two men"], *REFERENCES[1:]], [["a dog runs fast"], ["the dog is running", "two men"], REFERENCES[2]]]
)
def test_training_document_frequency_of_other_captions_is_another_file(tmp_path, other):
    files = [training_document_frequency(texts, tmp_path, None).cache_file for texts in (REFERENCES, other)]
    assert files[0] != files[1]


def test_training_document_frequency_damaged_cache_is_counted_again_with_a_warning(tmp_path, caplog):
    found = training_document_frequency(REFERENCES, tmp_path, None)
    found.save()
    whole = found.cache_file.read_bytes()
    found.cache_file.write_bytes(whole[:100])

    with caplog.at_level(logging.WARNING):
        again = training_document_frequency(REFERENCES, tmp_path, None)
    again.save()

    assert "or damaged" in caplog.text
    assert "Counting it again" in caplog.text
    assert found.cache_file.read_bytes() == whole


def test_training_document_frequency_that_cannot_be_kept_is_a_warning(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    found = training_document_frequency(REFERENCES, tmp_path / "file" / "cache", None)

    with caplog.at_level(logging.WARNING):
        found.save()

    (record,) = caplog.records
    assert f"{found.cache_file}: " in record.getMessage()
    assert "the next run counts again" in record.getMessage()


def test_training_document_frequency_chosen_file_is_used_and_not_cached(tmp_path):
    DocumentFrequency.from_references([["a bird"]] * 5, tokenizer=TOKENIZER_NAME, eos=EOS).save(tmp_path / "df.npz")

    found = training_document_frequency(REFERENCES, tmp_path / "cache", tmp_path / "df.npz")
    found.save()

    assert found.document_frequency.num_documents == 5
    assert not (tmp_path / "cache").exists()


def test_training_document_frequency_chosen_pickle_of_self_critical_is_read(tmp_path):
    counts = defaultdict(float, {("a",): 7.0, ("<eos>",): 9.0})
    (tmp_path / "words.p").write_bytes(pickle.dumps({"document_frequency": counts, "ref_len": 9}))

    found = training_document_frequency(REFERENCES, tmp_path, tmp_path / "words.p")

    assert [found.document_frequency.lookup(word) for word in ("a", EOS, "dog")] == [7, 9, 0]


@pytest.mark.parametrize(("tokenizer", "eos"), [("spacy", EOS), (TOKENIZER_NAME, None)])
def test_training_document_frequency_of_another_tokenizer_or_end_is_refused(tmp_path, tokenizer, eos):
    path = tmp_path / "df.npz"
    DocumentFrequency.from_references(REFERENCES, tokenizer=tokenizer, eos=eos).save(path)

    with pytest.raises(ValueError, match=r"df\.npz: counted with tokenizer .*; in use are .*Count it again"):
        training_document_frequency(REFERENCES, tmp_path, path)


def test_training_document_frequency_chosen_file_that_is_missing_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.npz: no such file"):
        training_document_frequency(REFERENCES, tmp_path, tmp_path / "none.npz")


def test_build_rewards_real_captions_against_themselves(shared):
    from utils.io import read_json

    rows = read_json(shared / "data" / "flickrstyle" / "captions.json")[:400]
    examples = [
        CaptionExample(f"{row['image']}#{style}", Path(row["image"]), style, (row[style],))
        for row in rows
        for style in ("humorous", "romantic")
    ]
    styles = [one.style for one in examples]
    request = RewardRequest(list(range(800)), [one.captions[0] for one in examples], [True] * 800)
    swapped = request._replace(rows=[row ^ 1 for row in request.rows])

    weights = {"cider_d": 1.0, "style": 1.0}
    references = tokenize_references(examples)
    with build_rewards(references, weights, styles=styles) as rewards:
        rewards.submit(lambda: request)
        rewards.submit(lambda: swapped)
        own, other = rewards.result(), rewards.result()

    # A caption that is its only reference word for word has a cosine of 1 for each n.
    np.testing.assert_allclose(own.terms["cider_d"], 10, rtol=0, atol=1e-9)
    by_style = {"humorous": references[::2], "romantic": references[1::2]}
    classifier = StyleClassifier.fit({style: [texts[0] for texts in by_style[style]] for style in by_style})
    judged = classifier.predict([texts[0] for texts in references])
    is_likelier = own.terms["style"] > other.terms["style"]
    assert is_likelier.tolist() == [found == style for found, style in zip(judged, styles, strict=True)]
    assert is_likelier.mean() > 0.9
    np.testing.assert_allclose(own.terms["style"] + other.terms["style"], 1, rtol=0, atol=1e-9)
