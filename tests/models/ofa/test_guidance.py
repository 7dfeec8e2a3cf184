from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.ofa.captioner import OFACaptioner
from models.ofa.guidance import GuidedCache
from models.settings import Decoding

TEXT_VOCABULARY, EOS = 23, 2
GREEDY = Decoding(num_beams=1, max_length=6, min_length=0, no_repeat_ngram_size=0)


@pytest.fixture
def captioner(tiny_ofa):
    return OFACaptioner(tiny_ofa(14, text_vocab_size=TEXT_VOCABULARY), None)


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


def test_combined_scores_are_those_of_the_rule_by_hand():
    """At weight 2, p is as p_styled ** 2 / p_neutral: 1, 1/8 and 1/4, of 11/8 in all."""
    styled, neutral = (torch.tensor([[row]]).log() for row in ([0.5, 0.25, 0.25], [0.25, 0.5, 0.25]))
    logits = GuidedCache(1, None, 2.0).combine(styled + 7.0, neutral - 3.0)  # a constant in the logits changes nothing
    expected = torch.tensor([8 / 11, 1 / 11, 2 / 11])
    assert torch.allclose(logits.softmax(-1)[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("weight", [1.7, 4.0])
def test_sampled_captions_invert_the_distribution_of_the_combined_scores(captioner, encoded, weight):
    uniforms = torch.rand(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rules = {"temperature": 1.3, "guidance": weight, "neutral": encoded[1]}
    found = captioner.sample(encoded[0], uniforms, with_greedy=True, **rules).unflatten(0, (3, 5))
    scores = _combined(captioner, encoded, found.flatten(0, 1), weight)
    sums = (scores / 1.3).double().softmax(-1).cumsum(-1).unflatten(0, (3, 5))
    drawn = torch.searchsorted(sums[:, :4].contiguous(), uniforms[:, :, : sums.shape[2], None]).squeeze(-1)
    counted = found[:, :4].ne(-100)
    assert counted.sum() > 20
    assert torch.equal(drawn[counted], found[:, :4][counted])
    likeliest, greedy = scores.argmax(-1).unflatten(0, (3, 5))[:, 4], found[:, 4]
    assert torch.equal(likeliest[greedy.ne(-100)], greedy[greedy.ne(-100)])
    assert not torch.equal(found, captioner.sample(encoded[0], uniforms, with_greedy=True).unflatten(0, (3, 5)))


@pytest.mark.parametrize(("weight", "side"), [(1.0, 0), (0.0, 1)])
def test_at_one_and_zero_one_prompt_alone_is_decoded_by_beam_and_by_draw(captioner, encoded, weight, side, monkeypatch):
    rules, uniforms = replace(GREEDY, num_beams=3), torch.rand(3, 2, 5, dtype=torch.float64)
    beams, drawn = captioner.beams(encoded[side], rules), captioner.sample(encoded[side], uniforms)
    monkeypatch.setattr(GuidedCache, "combine", pytest.fail)
    assert torch.equal(captioner.beams(encoded[0], replace(rules, guidance=weight), neutral=encoded[1]), beams)
    assert torch.equal(captioner.sample(encoded[0], uniforms, guidance=weight, neutral=encoded[1]), drawn)
