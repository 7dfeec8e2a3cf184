"""What another model says of the next token, added to the captioner's scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.ofa.captioner import OFACaptioner
from models.settings import Decoding

TEXT_VOCABULARY, EOS = 23, 2
GREEDY = Decoding(num_beams=1, max_length=6, min_length=0, no_repeat_ngram_size=0)
TABLE = torch.randn(TEXT_VOCABULARY + 4, TEXT_VOCABULARY + 4, generator=torch.Generator().manual_seed(3)) * 3


@pytest.fixture
def captioner(tiny_ofa):
    return OFACaptioner(tiny_ofa(14, text_vocab_size=TEXT_VOCABULARY), None)


def bigrams(token_ids):
    """By the last token, with more entries than a caption can be made of; of a text's start as of token 0."""
    last = token_ids[:, -1] if token_ids.shape[1] else token_ids.new_zeros(len(token_ids))
    return TABLE[last.clamp(min=0)]


def _sums(captioner, encoded, captions):
    """The rule itself, over whole captions: (N, T, V)."""
    with torch.no_grad():
        own = captioner.logits(encoded, captions, drawable=True).log_softmax(-1)
    added = torch.stack([bigrams(captions[:, :place]) for place in range(captions.shape[1])], 1)
    return own + added[..., :TEXT_VOCABULARY]


def test_greedy_captions_are_the_likeliest_tokens_of_the_sums(captioner, encoded):
    found = captioner.beams(encoded[0], GREEDY, fusion=bigrams)
    counted = found.ne(-100)
    counted[:, -1] = False  # EOS may be forced there
    assert counted.sum() > 4
    assert torch.equal(_sums(captioner, encoded[0], found).argmax(-1)[counted], found[counted])
    assert not torch.equal(found, captioner.beams(encoded[0], GREEDY))


def test_beams_follow_the_sums(captioner, encoded):
    """The best beam has no lower mean sum than the greedy caption; without a limit, no EOS is forced."""
    rules = replace(GREEDY, num_beams=4, max_length=5)
    means = []
    for chosen in (rules, replace(rules, num_beams=1)):
        captions = captioner.beams(encoded[0], chosen, fusion=bigrams, force_end=False)
        scores = _sums(captioner, encoded[0], captions)
        scores = scores.gather(-1, captions.clamp(min=0)[..., None])[..., 0].masked_fill(captions.lt(0), 0.0)
        means.append(scores.sum(1) / captions.ge(0).sum(1))
    assert (means[0] >= means[1] - 1e-5).all()


def test_sampled_captions_invert_the_distribution_of_the_sums(captioner, encoded):
    uniforms = torch.rand(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = captioner.sample(encoded[0], uniforms, temperature=1.3, fusion=bigrams).unflatten(0, (3, 4))
    scores = _sums(captioner, encoded[0], found.flatten(0, 1))
    sums = (scores / 1.3).double().softmax(-1).cumsum(-1).unflatten(0, (3, 4))
    drawn = torch.searchsorted(sums.contiguous(), uniforms[:, :, : sums.shape[2], None]).squeeze(-1)
    counted = found.ne(-100)
    assert counted.sum() > 15
    assert torch.equal(drawn[counted], found[counted])
