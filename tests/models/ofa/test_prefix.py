"""Captions that begin with given tokens, by beam search, by draw, and step by step."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch

from models.ofa.captioner import OFACaptioner
from models.settings import Decoding

EOS, VOCABULARY = 2, 8
WORDS = [token for token in range(VOCABULARY) if token not in (1, EOS)]
PREFIX = [5, 4, 7]
RULES = Decoding(num_beams=3, max_length=8, min_length=0, no_repeat_ngram_size=0)


@pytest.fixture
def captioner(tiny_ofa):
    return OFACaptioner(tiny_ofa(14, text_vocab_size=VOCABULARY), None)


def _scores(captioner, encoded, captions, weight):
    """Log-probabilities of tokens of whole captions, guided."""
    with torch.no_grad():
        styled, neutral = (captioner.logits(one, captions, drawable=True).log_softmax(-1) for one in encoded)
    both = torch.where(neutral.isneginf(), neutral, neutral + weight * (styled - neutral)).log_softmax(-1)
    return both.gather(-1, captions.clamp(min=0)[..., None])[..., 0].masked_fill(captions.lt(0), 0.0)


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_beams_with_a_prefix_are_the_best_of_all_captions_that_begin_with_it(captioner, encoded, weight):
    rules = replace(RULES, num_beams=42, max_length=len(PREFIX) + 2, guidance=weight)
    endings = [[*words, EOS] + [-100] * (2 - len(words)) for n in range(3) for words in product(WORDS, repeat=n)]
    captions = torch.tensor([PREFIX + ending for ending in endings])
    found = captioner.beams(encoded[0], rules, num_captions=4, neutral=encoded[1], prefix=PREFIX).unflatten(0, (3, 4))
    for picture in range(3):
        everything = captions.repeat(3, 1)
        scores = _scores(captioner, encoded, everything, weight).unflatten(0, (3, -1))[picture, :, len(PREFIX) :]
        means = scores.sum(1) / captions[:, len(PREFIX) :].ge(0).sum(1)
        assert torch.equal(found[picture], captions[means.topk(4).indices])


def test_beams_continue_a_caption_of_their_own_as_it_was(captioner, encoded):
    greedy = replace(RULES, num_beams=1)
    whole = captioner.beams(encoded[0], greedy)
    for row, caption in enumerate(whole.tolist()):
        again = captioner.beams(encoded[0], greedy, prefix=caption[:3])
        assert again[row].tolist()[: len(caption)] == caption[: again.shape[1]]
    assert torch.equal(captioner.beams(encoded[0], greedy, prefix=()), whole)


def test_rules_count_the_prefix(captioner, encoded):
    bigrams = [(5, 4), (4, 7), (7, 5)]
    found = captioner.beams(encoded[0], replace(RULES, no_repeat_ngram_size=2), prefix=[*PREFIX, 5])
    for caption in found.tolist():
        pairs = [pair for pair in zip(caption, caption[1:], strict=False) if -100 not in pair]
        assert pairs[:3] == bigrams
        assert len({*pairs}) == len(pairs)
    full = captioner.beams(encoded[0], replace(RULES, max_length=3), prefix=PREFIX)
    assert full.tolist() == [[*PREFIX, EOS]] * 3
    for least in (3, 6):
        lengths = captioner.beams(encoded[0], replace(RULES, min_length=least), prefix=PREFIX).ge(3).sum(1)
        assert (lengths >= least - 1).all()


@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_draws_continue_a_caption_of_their_own_as_it_was(captioner, encoded, weight):
    uniforms = torch.rand(3, 2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    options = {"temperature": 1.2, "top_p": 0.9, "guidance": weight, "neutral": encoded[1]}
    whole = captioner.sample(encoded[0], uniforms, **options)
    long = [row for row, caption in enumerate(whole) if EOS not in caption[:3].tolist()]
    assert long
    for row in long:
        for length in (1, 3, 7):
            prefix = [token for token in whole[row].tolist() if token >= 0][:length]
            again = captioner.sample(encoded[0], uniforms, **options, prefix=prefix)[row]
            kept = [token for token in again.tolist() if token >= 0]
            assert kept[: len(prefix)] == prefix
            if EOS not in prefix:
                assert kept == [token for token in whole[row].tolist() if token >= 0]


def test_draw_with_a_prefix_of_all_positions_is_the_prefix(captioner, encoded):
    uniforms = torch.rand(3, 2, len(PREFIX), dtype=torch.float64)
    assert captioner.sample(encoded[0], uniforms, prefix=PREFIX).tolist() == [PREFIX] * 6


def test_steps_give_the_chances_of_whole_captions(captioner, tiny_inputs):
    one = {name: tensor[:1] for name, tensor in tiny_inputs(7).items()}
    encoded = captioner.encode(one)
    steps = captioner.steps(encoded, PREFIX, most=3)
    captions = torch.tensor([PREFIX])
    for rows, tokens in (([0, 0, 0], [4, 5, 6]), ([2, 0], [7, 3]), ([1, 1, 0], [5, 6, 6])):
        ahead = torch.cat([captions, torch.zeros_like(captions[:, :1])], 1)
        with torch.no_grad():
            whole = captioner.logits(encoded, ahead, drawable=True).log_softmax(-1)[:, -1]
        torch.testing.assert_close(steps.log_probs, whole, rtol=1e-4, atol=1e-5)
        steps.take(torch.tensor(rows), torch.tensor(tokens))
        captions = torch.cat([captions[rows], torch.tensor(tokens)[:, None]], 1)


def test_steps_beyond_the_positions_of_the_model_are_refused(captioner, tiny_inputs):
    encoded = captioner.encode({name: tensor[:1] for name, tensor in tiny_inputs(7).items()})
    with pytest.raises(ValueError, match="caption"):
        captioner.steps(encoded, PREFIX, most=100)
