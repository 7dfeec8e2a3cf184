from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from models.style_lm import sampling as ours
from models.style_lm.sampling import Sampling, sample_texts

PROMPTS = [[0, 5, 6], [0], [0, 9, 8, 7, 6], [0, 5, 6]]
LONG = Sampling(max_length=20)


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 2},
        {"no_repeat_ngram_size": 1},
        {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
    ],
)
def test_greedy_texts_equal_those_of_generate(tiny_lm, rules):
    lm = tiny_lm()
    found = sample_texts(lm, PROMPTS, replace(LONG, top_k=1, **rules))
    for prompt, text in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([prompt])
        options = {"do_sample": False, "max_new_tokens": 20, "attention_mask": torch.ones_like(ids), **rules}
        assert text == lm.network.generate(ids, **options)[0, len(prompt) :].tolist()


@pytest.mark.parametrize(
    ("rules", "warpers"),
    [
        ({"temperature": 0.7}, [TemperatureLogitsWarper(0.7)]),
        ({"top_k": 4}, [TopKLogitsWarper(4)]),
        ({"top_p": 0.6}, [TopPLogitsWarper(0.6)]),
        ({"top_k": 6, "top_p": 0.7}, [TopKLogitsWarper(6), TopPLogitsWarper(0.7)]),
        (
            {"temperature": 1.5, "top_k": 9, "top_p": 0.9},
            [TemperatureLogitsWarper(1.5), TopKLogitsWarper(9), TopPLogitsWarper(0.9)],
        ),
    ],
)
@pytest.mark.parametrize("widths", [(2,), (2, 20), (128,)])
def test_draws_have_the_probabilities_of_the_librarys_rules(rules, warpers, widths, monkeypatch):
    """Evenly spread pairs of random numbers give each token its share, however a nucleus is looked for."""
    monkeypatch.setattr(ours, "WIDTHS", widths)
    logits = 2 * torch.randn(1, 23, generator=torch.Generator().manual_seed(6))
    wanted = LogitsProcessorList(warpers)(None, logits.clone())[0].softmax(-1)
    number = 20_000
    places = torch.arange(number, dtype=torch.float64)
    uniforms = torch.stack([(places + 0.5) / number, places * 5**0.5 % 1.0], 1)
    drawn = ours._choose(logits.repeat(number, 1), uniforms, Sampling(**rules))
    counts = torch.bincount(drawn, minlength=23) / number
    assert torch.allclose(counts, wanted, atol=5e-4)
    assert not counts[wanted == 0].any()


def test_text_depends_on_seed_place_and_prompt_alone(tiny_lm):
    lm, rules = tiny_lm(), replace(LONG, top_p=0.9, repetition_penalty=1.1, seed=3)
    whole = sample_texts(lm, PROMPTS, rules)
    assert sample_texts(lm, PROMPTS[:2], rules) == whole[:2]
    assert sample_texts(lm, [[0, 3], PROMPTS[1]], rules)[1] == whole[1]
    assert whole[0] != whole[3]  # one prompt at two places
    assert sample_texts(lm, PROMPTS, replace(rules, seed=4)) != whole


@pytest.mark.parametrize("others", [{}, {"top_k": 5}, {"top_p": 0.9}, {"top_k": 5, "top_p": 0.9}])
def test_draws_at_the_ends_of_temperature_are_greedy_and_even(others):
    logits = torch.tensor([[-40.0, 3.0, 90.0, 89.0, -torch.inf]]).repeat(8, 1)
    uniforms = torch.linspace(0.01, 0.99, 8, dtype=torch.float64)[:, None].repeat(1, 2)
    for cold in (1e-300, 1e-40, 1e-5):
        assert ours._choose(logits.clone(), uniforms, Sampling(temperature=cold, **others)).tolist() == [2] * 8
    for hot in (1e30, float("inf")):
        drawn = ours._choose(logits.clone(), uniforms, Sampling(temperature=hot, **others))
        assert torch.bincount(drawn, minlength=5).tolist() == [2, 2, 2, 2, 0]


@pytest.mark.parametrize("sparse", [0.0, 0.5, 1.0])
def test_texts_end_with_eos_or_at_the_limit(tiny_lm, letters, monkeypatch, sparse):
    """Leaving out those that have ended changes nothing."""
    lm = tiny_lm(initializer_range=0.02)  # all tokens about alike
    usual = sample_texts(lm, [[0]] * 20, LONG)
    monkeypatch.setattr(ours, "SPARSE", sparse)
    assert sample_texts(lm, [[0]] * 20, LONG) == usual
    ended = [letters.eos_id in text for text in usual]
    assert 0 < sum(ended) < 20
    assert all(text.count(1) == 1 and text[-1] == 1 for text, has in zip(usual, ended, strict=True) if has)
    assert all(len(text) == 20 for text, has in zip(usual, ended, strict=True) if not has)
    assert sample_texts(lm, [], LONG) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"temperature": 0.0}, r"temperature=0.0: must be above 0; top_k=1 is greedy"),
        ({"top_p": 1.5}, r"top_p=1.5: must be above 0 and at most 1"),
        ({"top_k": 0}, "top_k=0: must be at least 1"),
        ({"max_length": 0}, "max_length=0: must be at least 1"),
        ({"repetition_penalty": -1.0}, "repetition_penalty=-1.0: must be above 0"),
        ({"seed": 1 << 63}, "seed=9223372036854775808: must be a number of at most 63 bits"),
        ({"max_length": 39}, "43 tokens: the language model has positions for 40"),
    ],
)
def test_sample_texts_refuses_what_is_out_of_range(tiny_lm, wrong, message):
    with pytest.raises(ValueError, match=message):
        sample_texts(tiny_lm(), PROMPTS, replace(LONG, **wrong))
