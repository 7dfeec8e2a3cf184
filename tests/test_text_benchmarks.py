"""The benchmarks of language models and styles without photos: what they write, count and compare."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from metrics.style.language_model import NgramLanguageModel
from models.style_lm import StyleLM
from pipeline.lm_perplexity import word_nats
from preprocessors.documents.training import train_tokenizer
from preprocessors.text.styles import StyleRegistry
from tests.test_benchmarks import load_benchmark


def test_linked_captions_link_styled_ones_to_the_factual_ones_of_their_photo():
    row = {"image": "a.jpg", "humorous": "ha .", "romantic": "oh .", "factual": ["a dog .", "dogs .", "two dogs ."]}
    plain, second, funny, loving = load_benchmark("linked_captions").of(row, 2)
    assert [plain, second] == [
        {"body": "a dog", "meta": "factual", "title": "a.jpg#0"},
        {"body": "dogs", "meta": "factual", "title": "a.jpg#1"},
    ]
    assert (funny["meta"], loving["meta"]) == ("humorous", "romantic")
    assert funny["links"] == loving["links"] == ["a.jpg#0", "a.jpg#1"]


def test_perplexities_are_of_the_same_words_and_unknown_ones_are_spelt():
    benchmark = load_benchmark("lm_perplexity")
    train = {"pirate": ["a dog runs", "a dog"], "robot": ["a cat", "the cat"]}
    lm = StyleLM.new(train_tokenizer(["a dog runs", "the cat"], 280), StyleRegistry([*train]), positions=24, seed=3)
    found = benchmark.compare(lm, train, {"pirate": ["a cat runs"]})["pirate"]
    own, together = NgramLanguageModel.fit(train["pirate"]), NgramLanguageModel.fit([*train["pirate"], *train["robot"]])
    letters = NgramLanguageModel.fit(["r u n s", "t h e"], 6)  # the words that stand there once
    nats, log_probs = word_nats(lm, ["a cat runs"], "pirate"), own.word_log_probabilities(["a cat runs"])
    known = [0, 2, 3]
    assert (found["words"], found["unknown"]) == (4, 0.25)
    assert found["lm"] == {"known": _perplexity(nats[known]), "spelt": _perplexity(nats)}
    spelling = letters.log_probabilities(["c a t"])[0]
    assert found["trigram"] == {
        "known": _perplexity(-log_probs[known]),
        "spelt": pytest.approx(math.exp(-(log_probs.sum() + spelling) / 4), abs=0.06),
        "unspelt": _perplexity(-log_probs),
    }
    assert found["trigram_of_all_styles"]["spelt"] == found["trigram_of_all_styles"]["unspelt"]  # it knows the cat
    assert found["trigram_of_all_styles"]["unspelt"] == _perplexity(-together.word_log_probabilities(["a cat runs"]))


def _perplexity(nats):
    return round(math.exp(nats.mean()), 1)


@pytest.fixture
def scorer(monkeypatch):
    """Of two photos, with made-up data in place of both data sets."""
    benchmark = load_benchmark("text_only_styles")
    rows = [
        {"image": name, "flickr8k_split": split, "humorous": f"funny {what}", "romantic": f"lovely {what}",
         "factual": [f"a {what} runs", f"the {what}", f"one {what}", f"some {what}", f"{what}"]}
        for name, split, what in (("a.jpg", "train", "dog"), ("b.jpg", "train", "cat"), ("c.jpg", "dev", "cow"),
                                  ("d.jpg", "dev", "hen"))
    ]  # fmt: skip
    sentences = [{"raw": "A great tree!", "sentiment": 1}, {"raw": "an ugly tree.", "sentiment": 0}]
    files = {
        "captions": rows,
        "senticap": {"images": [{"split": s, "sentences": sentences} for s in ("train", "test")]},
    }
    monkeypatch.setattr(benchmark, "read_json", lambda path: files[path.stem])
    return SimpleNamespace(benchmark=benchmark, rows=rows, scorer=benchmark.Scorer(rows[2:]))


def test_captions_are_judged_and_compared_with_people(scorer):
    found = scorer.scorer.score(
        {
            "positive": ["a great cow", "great hen"],
            "factual": ["a cow runs", "a hen runs"],
            "romantic": ["ugly", "ugly"],
        }
    )
    assert found["positive"]["judged"] == 1.0
    assert "CIDEr" not in found["positive"]
    assert found["factual"]["CIDEr"] == found["factual"]["CIDEr_factual"] > found["positive"]["CIDEr_factual"]
    assert (found["romantic"]["judged"], found["romantic"]["CIDEr"], found["romantic"]["different"]) == (0.0, 0.0, 1)
    assert found["factual"]["people"] == 1.0


def test_corpus_has_sentences_and_plain_captions_of_the_photos_that_are_learnt_from(scorer):
    assert [*scorer.benchmark.texts_of(None)] == [("positive", "A great tree!"), ("negative", "an ugly tree.")]
    learnt, held_out = (scorer.benchmark.rows_of(part) for part in ("train", "held_out"))
    assert sorted(row["image"] for row in [*learnt, *held_out]) == ["a.jpg", "b.jpg"]
    assert [*scorer.benchmark.texts_of("held_out")] == [("factual", row["factual"][0]) for row in held_out]
    assert [text for style, text in scorer.benchmark.texts_of("dev") if style == "factual"] == [
        "a cow runs",
        "a hen runs",
    ]
