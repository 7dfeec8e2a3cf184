from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from models.style_lm import StyleLM
from pipeline.lm_perplexity import add_lm_perplexity, check_lm, foretell
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


@pytest.fixture
def told(folder):
    """Adds to results whose n-gram models have this perplexity on people's captions."""

    def add(ngram, where=folder, style="pirate"):
        example = CaptionExample("x", Path("x.jpg"), style, ("Ahoy!",))
        results = {"style": {"per_style": {style: {"reference_perplexity": ngram}}}, "unavailable": {}}
        add_lm_perplexity(results, where, [example], {"x": "a dog"}, CPU)
        return results["style"]["per_style"][style], results["unavailable"]

    return add


def test_results_tell_hypotheses_and_people(told, folder):
    scores, missing = told(1e9)
    lm = StyleLM.load_from_dir(folder)
    assert scores["lm_perplexity"] == foretell(lm, ["a dog"], "pirate").perplexity
    assert scores["reference_lm_perplexity"] == foretell(lm, ["ahoy"], "pirate").perplexity
    assert missing == {}
    assert told(None)[0]["lm_perplexity"] is not None


def test_model_that_n_grams_beat_says_nothing_of_hypotheses(told):
    scores, missing = told(1.5)
    assert (scores["lm_perplexity"], scores["lm_bits_per_byte"]) == (None, None)
    assert scores["reference_lm_perplexity"] > 1.5
    assert "no better than n-grams do" in missing["style/pirate/lm_perplexity"]


def test_model_that_cannot_be_used_stops_no_evaluation_and_no_training_begins_with_it(told, tmp_path):
    assert "unknown style 'robot'" in told(9.0, style="robot")[1]["style/lm_perplexity"]
    assert "no such folder" in told(9.0, where=tmp_path / "none")[1]["style/lm_perplexity"]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        check_lm(tmp_path / "none")
    check_lm(None)
