from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from metrics.style.language_model import NgramLanguageModel
from models.style_lm import StyleLM
from pipeline.lm_perplexity import Duel, add_lm_perplexity, against_ngrams, check_lm, foretell, word_nats
from preprocessors.documents.training import train_tokenizer
from preprocessors.examples import CaptionExample
from preprocessors.text.styles import StyleRegistry

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    lm = StyleLM.new(train_tokenizer(["a dog runs", "ahoy"], 270), StyleRegistry(["pirate"]), positions=24, seed=3)
    saved = Path(tmp_path_factory.mktemp("perplexity"))
    lm.save_to_dir(saved)
    return saved


def test_perplexity_is_of_words_and_ends_and_bits_are_of_bytes(folder):
    lm = StyleLM.load_from_dir(folder)
    nats = -float(lm.log_probs(["a dog", "ahoy"], ["pirate"] * 2).sum())
    found = foretell(lm, ["A dog!", "Ahoy."], "pirate")
    assert found.perplexity == pytest.approx(math.exp(nats / 5), rel=1e-5)  # three words and two ends
    assert found.bits_per_byte == pytest.approx(nats / math.log(2) / 9, rel=1e-5)


def test_words_and_ends_cost_what_their_tokens_do(folder):
    lm = StyleLM.load_from_dir(folder)
    found = word_nats(lm, ["dogs\u00a0 run", "", "ahoy"], "pirate")
    assert found.shape == (6,)  # two words and an end, an end, a word and an end
    first, empty, last = (-lm.log_probs([text], ["pirate"])[0].double() for text in ("dogs run", "", "ahoy"))
    pieces = len(lm.tokenizer.encode_batch(["dogs"])[0])
    assert pieces > 1
    assert found[0] == pytest.approx(float(first[:pieces].sum()), rel=1e-5)
    assert found[1] == pytest.approx(float(first[pieces:-1].sum()), rel=1e-5)
    assert found[[2, 3, 5]] == pytest.approx([float(first[-1]), float(empty[0]), float(last[-1])], rel=1e-5)


def test_duel_is_of_the_words_that_training_captions_have(folder):
    nats, known = word_nats(StyleLM.load_from_dir(folder), ["a zebra runs", "dog"], "pirate"), [0, 2, 3, 4, 5]
    found = against_ngrams(["a zebra runs", "dog"], nats, ["a dog runs", "a dog"])
    log_probs = NgramLanguageModel.fit(["a dog runs", "a dog"]).word_log_probabilities(["a zebra runs", "dog"])
    assert found.share == pytest.approx(5 / 6)
    assert found.lm == pytest.approx(math.exp(nats[known].mean()))
    assert found.ngrams == pytest.approx(math.exp(-log_probs[known].mean()))


@pytest.fixture
def told(folder):
    """Adds to results of people's one caption, "Ahoy!", beside n-grams of these training captions."""

    def add(train, where=folder, style="pirate"):
        example = CaptionExample("x", Path("x.jpg"), style, ("Ahoy!",))
        learnt = None if train is None else [CaptionExample("y", Path("y.jpg"), style, (train,))]
        results = {"style": {"per_style": {style: {}}}, "unavailable": {}}
        add_lm_perplexity(results, where, [example], {"x": "a dog"}, CPU, learnt)
        return results["style"]["per_style"][style], results["unavailable"]

    return add


def test_results_tell_hypotheses_and_people_where_the_model_beats_n_grams(told, folder, monkeypatch):
    lm = StyleLM.load_from_dir(folder)
    monkeypatch.setattr("pipeline.lm_perplexity.against_ngrams", lambda *_: Duel(1.0, 9.5, 9.4))
    scores, missing = told("ahoy")
    assert scores["lm_perplexity"] == foretell(lm, ["a dog"], "pirate").perplexity
    assert scores["reference_lm_perplexity"] == foretell(lm, ["ahoy"], "pirate").perplexity
    assert scores["known_words"] == {"share": 1.0, "ngrams": 9.5, "lm": 9.4}
    assert missing == {}


def test_without_training_captions_there_is_nothing_to_beat(told):
    scores, missing = told(None)
    assert scores["lm_perplexity"] is not None
    assert "known_words" not in scores
    assert missing == {}


def test_model_that_n_grams_beat_says_nothing_of_hypotheses(told):
    scores, missing = told("Ahoy")  # which trigrams foretell, and an untrained model does not
    assert (scores["lm_perplexity"], scores["lm_bits_per_byte"]) == (None, None)
    assert scores["reference_lm_perplexity"] == pytest.approx(scores["known_words"]["lm"])
    assert scores["known_words"]["lm"] > scores["known_words"]["ngrams"]
    assert "no better than n-grams do" in missing["style/pirate/lm_perplexity"]


def test_model_that_cannot_be_used_stops_no_evaluation_and_no_training_begins_with_it(told, tmp_path):
    assert "unknown style 'robot'" in told("ahoy", style="robot")[1]["style/lm_perplexity"]
    assert "no such folder" in told("ahoy", where=tmp_path / "none")[1]["style/lm_perplexity"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        check_lm(tmp_path / "none")
    check_lm(None)


def test_word_without_an_end_has_a_perplexity(folder):
    lm = StyleLM.load_from_dir(folder)
    log_probs = lm.log_probs
    lm.log_probs = lambda ids, styles: log_probs(ids, styles) - 800.0
    assert foretell(lm, ["dog"], "pirate").perplexity == pytest.approx(math.exp(700.0))
