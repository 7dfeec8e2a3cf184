from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.ofa.captioner import OFACaptioner
from models.settings import Decoding

TEXT_VOCABULARY, EOS = 23, 2
GREEDY = Decoding(num_beams=1, max_length=6, min_length=0, no_repeat_ngram_size=0)


@pytest.fixture
def captioner(tiny_ofa):
    return OFACaptioner(tiny_ofa(14, text_vocab_size=TEXT_VOCABULARY), None)


@pytest.fixture
def encoded(captioner, tiny_inputs):
    """Three pictures with a styled prompt, and the same with a neutral one of another length."""
    styled, neutral = tiny_inputs(7), tiny_inputs(5)
    neutral["patch_images"] = styled["patch_images"]
    with torch.no_grad():
        return captioner.encode(styled), captioner.encode(neutral)


def _combined(captioner, encoded, captions, weight):
    """The rule itself, over whole captions and without any cache."""
    with torch.no_grad():
        styled, neutral = (captioner.logits(one, captions, drawable=True) for one in encoded)
    neutral, styled = neutral.log_softmax(-1), styled.log_softmax(-1)
    return torch.where(neutral.isneginf(), neutral, neutral + weight * (styled - neutral))


@pytest.mark.parametrize("weight", [0.0, 1.7, 4.0])
def test_greedy_captions_are_the_likeliest_tokens_of_the_combined_scores(captioner, encoded, weight):
    found = captioner.beams(encoded[0], replace(GREEDY, guidance=weight), neutral=encoded[1])
    scores = _combined(captioner, encoded, found, weight)
    counted = found.ne(-100)
    counted[:, -1] = False  # EOS may be forced there
    assert counted.sum() > 6
    assert torch.equal(scores.argmax(-1)[counted], found[counted])


def test_beams_score_what_guidance_says(captioner, encoded):
    """The best beam has no lower mean score than the greedy caption, under the combined scores."""
    rules = replace(GREEDY, num_beams=4, guidance=2.5)
    beams = captioner.beams(encoded[0], rules, neutral=encoded[1])
    greedy = captioner.beams(encoded[0], replace(rules, num_beams=1), neutral=encoded[1])

    def mean_score(captions):
        scores = _combined(captioner, encoded, captions, 2.5).log_softmax(-1)
        chosen = scores.gather(-1, captions.clamp(min=0)[..., None])[..., 0].masked_fill(captions.lt(0), 0.0)
        return chosen.sum(1) / captions.ge(0).sum(1)

    assert (mean_score(beams) >= mean_score(greedy) - 1e-5).all()
    assert not torch.equal(beams, captioner.beams(encoded[0], rules))


def test_weight_of_one_is_no_guidance_and_of_zero_is_neutral(captioner, encoded):
    rules = replace(GREEDY, num_beams=3)
    plain, neutral = (captioner.beams(one, rules) for one in encoded)
    assert torch.equal(captioner.beams(encoded[0], replace(rules, guidance=1.0), neutral=encoded[1]), plain)
    assert torch.equal(captioner.beams(encoded[0], replace(rules, guidance=0.0), neutral=encoded[1]), neutral)
    assert not torch.equal(plain, neutral)
