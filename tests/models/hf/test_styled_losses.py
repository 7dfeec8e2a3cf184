"""What style adds to a loss or to decoding is the same for every family: worked out by hand from its own class."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
import torch
from PIL import Image

from models import open_captioner
from models.settings import CaptionerSettings, Decoding
from preprocessors.examples import CaptionExample, make_example_id
from preprocessors.pictures.images import MEAN_STD
from preprocessors.text.masking import CaptionMasker
from preprocessors.text.styles import StyleRegistry
from trainers.losses.table import LOSS_TERMS

PLAIN = Decoding(num_beams=1, max_length=6, min_length=0, no_repeat_ngram_size=0)
SETTINGS = CaptionerSettings(32, 32, MEAN_STD["half"], "a {} dog", "a dog", (), PLAIN)
RATES = {"mask_rate": 0.0, "style_word_rate": 1.0, "mask_style_rate": 0.0, "max_source_length": 90}


def _tokens(row):
    return [token for token in row.tolist() if token >= 0]


@torch.no_grad()
def test_unlikelihood_equals_that_of_the_class_s_own_probabilities(case, batch, captions):
    """-log(1 - p) of each token that a caption has already, and of each of another style, written out."""
    logits = case.captioner.logits(case.captioner.encode(batch), captions)
    foreign = torch.zeros(len(captions), logits.shape[-1], dtype=torch.bool)
    foreign[:, [int(captions[0, 0]), int(captions[3, 1])]] = True
    repetition = leakage = 0.0
    for row, caption in enumerate(map(_tokens, captions)):
        chances = case.own_logits(batch, row // 2, caption).double().softmax(-1)
        for place, target in enumerate(caption):
            seen = {*caption[:place]} - {target}
            others = {*foreign[row].nonzero()[:, 0].tolist()} - {target}
            repetition -= sum(math.log1p(-float(chances[place, token])) for token in seen)
            leakage -= sum(math.log1p(-float(chances[place, token])) for token in others)
    found = {name: term.compute(logits, captions, foreign).item() for name, term in LOSS_TERMS.items()}
    assert found == {
        "unlikelihood_repetition": pytest.approx(repetition, rel=1e-4),
        "unlikelihood_leakage": pytest.approx(leakage, rel=1e-4),
    }
    assert min(repetition, leakage) > 0.01


@torch.no_grad()
def test_guided_search_takes_what_the_formula_says_of_two_passes_of_the_class(case, batch):
    weight = 5.0
    plain = case.batch(*["the"] * 3) | {"patch_images": batch["patch_images"]}
    styled, neutral = case.captioner.encode(batch), case.captioner.encode(plain)
    found = case.captioner.beams(styled, replace(PLAIN, guidance=weight), neutral=neutral, force_end=False)
    unguided = case.captioner.beams(styled, PLAIN, force_end=False)
    for image, caption in enumerate(map(_tokens, found)):
        with_style, without = (case.own_logits(one, image, caption).log_softmax(-1) for one in (batch, plain))
        scores = without + weight * (with_style - without)
        scores[:, case.banned()] = -torch.inf
        assert scores.argmax(-1).tolist() == caption
    assert [*map(_tokens, found)] != [*map(_tokens, unguided)]  # it does something


@pytest.mark.parametrize("dropout", [0.0, 1.0])
def test_style_dropout_shows_the_neutral_prompt(case, dropout, tmp_path):
    """And the model then says what its class says to that prompt."""
    captioner = open_captioner(case.folder)
    preprocessor = captioner.preprocessor(StyleRegistry(["sea"], neutral="two"), SETTINGS, style_dropout=dropout)
    Image.new("RGB", (40, 40), (90, 20, 60)).save(tmp_path / "a.png")
    example = CaptionExample(make_example_id("a.png", "sea"), tmp_path / "a.png", "sea", ("a dog",), "t.jsonl", 1)
    encoded = preprocessor.encode(example, training=True)
    shown = "a two dog" if dropout else "a sea dog"
    assert encoded["input_ids"] == case.prompt_ids(shown)
    one = case.batch(shown)
    caption = encoded["labels"]
    with torch.no_grad():
        logits = captioner.logits(captioner.encode(one), torch.tensor([caption]))[0]
        torch.testing.assert_close(logits, case.own_logits(one, 0, caption), rtol=1e-5, atol=1e-5)


def test_masked_caption_is_read_as_text(case, batch):
    """With a token of its own where the vocabulary has one, and as a blank in a sentence where it has none."""
    tokenizer, registry = case.captioner.tokenizer, StyleRegistry(["pirate"], inject="words")
    masker = CaptionMasker(tokenizer, registry, {"pirate": ["dog"]}, **RATES)
    source = masker.mask("a dog runs", "pirate", random.Random(0))
    assert (source[0], source[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    is_language_model = case.captioner.encode(batch).context is None
    assert is_language_model == (tokenizer.mask_token_id is None)
    if is_language_model:
        whole = ' fill in every ____ of " a ____ runs " and write all of it as a pirate reply.'
        assert source[1:-1] == tokenizer.encode_text(whole)
        return
    before, after = ' what is the complete text of " a', ' runs "? write a pirate reply.'
    assert source[1:-1] == [
        *tokenizer.encode_text(before),
        tokenizer.mask_token_id,
        *tokenizer.encode_text(after),
    ]
