import json
import random
from collections import Counter
from pathlib import Path

import pytest

from models.ofa.tokenization_ofa import OFATokenizer
from preprocessors.text.bpe import train_bpe
from preprocessors.text.corpora import StyledText
from preprocessors.text.masking import BLANKS_PROMPT, MASKED_PROMPT, CaptionMasker, MaskedSource
from preprocessors.text.prompts import DEFAULT_PROMPT
from preprocessors.text.styles import StyleRegistry

MASK = 3
RATES = {"mask_rate": 0.3, "style_word_rate": 0.5, "mask_style_rate": 0.0, "max_source_length": 256}


@pytest.fixture
def tokenizer(word_tokenizer):
    word_tokenizer.mask_token_id = MASK
    return word_tokenizer


@pytest.fixture(scope="module")
def ofa_tokenizer(shared: Path) -> OFATokenizer:
    return OFATokenizer.from_pretrained(shared / "data" / "ofa_bpe", style_tokens=["<style_0>", "<style_1>"])


def make_masker(tokenizer, registry: StyleRegistry | None = None, typical=None, **settings) -> CaptionMasker:
    registry = registry or StyleRegistry(["Romantic", "Humorous"])
    return CaptionMasker(tokenizer, registry, typical or {}, **RATES | settings)


def read(tokenizer, ids: list[int]) -> str:
    """Source ids as text; only for the stand-in tokenizer, which knows whole words."""
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    return " ".join("<mask>" if number == MASK else tokenizer.text_of([number]) for number in ids[1:-1])


def test_mask_published_bpe_masks_all_pieces_of_a_word_and_nothing_else(ofa_tokenizer):
    assert ofa_tokenizer.mask_token_id == 50264
    assert len(ofa_tokenizer.encode_text(" blushingly")) > 1
    masker = make_masker(ofa_tokenizer, typical={"ROMANTIC": {"blushingly"}}, mask_rate=0.0, style_word_rate=1.0)
    source = masker.mask("Blushingly, the dog's BLUSHINGLY kissed.", "romantic", random.Random(0))
    front = ofa_tokenizer.encode_text(' what is the complete text of "')
    back = ofa_tokenizer.encode_text(' kissed "? write a romantic reply.')
    assert front == [99, 16, 5, 1498, 2788, 9, 22]
    assert source == [0, *front, 50264, *ofa_tokenizer.encode_text(" the dogs"), 50264, *back, 2]


@pytest.mark.parametrize("inject", ["words", "code", "token"])
def test_mask_leaves_every_other_word_and_the_prompt_as_in_the_whole_text(ofa_tokenizer, inject: str):
    registry = StyleRegistry(["Mellow (Soothing, Sweet)"], inject=inject, neutral="plain")
    caption, style = "the inexplicableness of two grandfatherly zookeepers 365 cats", registry.names[0]
    whole = MASKED_PROMPT.format(caption=caption, style=registry.token_of(style))
    front, back = (ofa_tokenizer.encode_text(part) for part in whole.split(f" {caption}"))
    words = [ofa_tokenizer.encode_text(f" {word}") for word in caption.split()]
    assert [*front, *sum(words, []), *back] == ofa_tokenizer.encode_text(whole)

    masker, generator, counts = make_masker(ofa_tokenizer, registry), random.Random(3), Counter()
    for _ in range(200):
        source = masker.mask(caption, style, generator)[1:-1]
        assert source[: len(front)] == front
        assert source[-len(back) :] == back
        rest = source[len(front) : -len(back)]
        for number, word in enumerate(words):
            masked = rest[0] == ofa_tokenizer.mask_token_id
            piece = [ofa_tokenizer.mask_token_id] if masked else word
            assert rest[: len(piece)] == piece
            rest = rest[len(piece) :]
            counts[number] += masked
        assert rest == []
    assert all(abs(counts[number] - 60) <= 3 * (200 * 0.3 * 0.7) ** 0.5 for number in range(len(words)))  # 19


def test_mask_bpe_of_a_new_model_has_its_own_mask(tmp_path: Path):
    train_bpe(["the red star", "a blue star"] * 4, tmp_path, 300, extra_texts=[DEFAULT_PROMPT.format("calm")])
    tokenizer = OFATokenizer.from_pretrained(tmp_path, num_codes=3, num_bins=0)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert tokenizer.mask_token_id == vocabulary["<mask>"] == tokenizer.text_vocab_size - 1
    masker = make_masker(tokenizer, typical={"romantic": ["star"]}, mask_rate=0.0, style_word_rate=1.0)
    source = masker.mask("the star", "romantic", random.Random(0))
    before, after = MASKED_PROMPT.format(caption="the |", style="romantic").split(" |")
    expected = [*tokenizer.encode_text(before), tokenizer.mask_token_id, *tokenizer.encode_text(after)]
    assert source == [tokenizer.bos_token_id, *expected, tokenizer.eos_token_id]


def test_mask_rates_hold_for_plain_words_style_words_and_the_style(tokenizer):
    plain, typical = [f"plain{number}" for number in range(12)], [f"Sweet{number}" for number in range(8)]
    words = {"romantic": [word.lower() for word in typical], "humorous": ["plain0"]}
    masker = make_masker(tokenizer, typical=words, mask_rate=0.2, style_word_rate=0.6, mask_style_rate=0.1)
    caption, generator = " ".join([*plain, *typical]), random.Random(11)
    sources = [read(tokenizer, masker.mask(caption, "Romantic", generator)).split() for _ in range(1000)]
    kept_plain = sum(word in source for source in sources for word in plain)
    kept_typical = sum(word in source for source in sources for word in typical)
    hidden = sum("romantic" not in source for source in sources)
    assert abs(12_000 * 0.8 - kept_plain) <= 3 * (12_000 * 0.2 * 0.8) ** 0.5  # three standard deviations: 131
    assert abs(8_000 * 0.4 - kept_typical) <= 3 * (8_000 * 0.6 * 0.4) ** 0.5  # 131
    assert abs(1_000 * 0.1 - hidden) <= 3 * (1_000 * 0.1 * 0.9) ** 0.5  # 28


def test_mask_where_no_word_is_drawn_takes_one_at_random(tokenizer):
    masker, generator = make_masker(tokenizer, mask_rate=0.0), random.Random(5)
    before, after = MASKED_PROMPT.format(caption="|", style="humorous").split("|")
    places = Counter()
    for _ in range(900):
        caption = read(tokenizer, masker.mask("red sky tonight", "Humorous", generator)).removeprefix(before.strip())
        places[caption.removesuffix(after.strip()).strip()] += 1
    assert places.keys() == {"<mask> sky tonight", "red <mask> tonight", "red sky <mask>"}
    assert all(abs(count - 300) <= 3 * (900 * 2 / 9) ** 0.5 for count in places.values())  # 42


def test_mask_hidden_style_is_one_mask_for_all_its_words(tokenizer):
    registry = StyleRegistry(["Mellow (Soothing, Sweet)"])
    masker = make_masker(tokenizer, registry, mask_rate=1.0, mask_style_rate=1.0)
    source = masker.mask("a sky", "mellow (soothing, sweet)", random.Random(0))
    assert read(tokenizer, source) == 'what is the complete text of " <mask> <mask> "? write a <mask> reply.'


BLANK = "____"


@pytest.fixture
def telling(word_tokenizer):
    """Of a language model: nothing in its vocabulary stands for what is masked."""
    word_tokenizer.mask_token_id = None
    return word_tokenizer


def test_mask_without_a_token_for_it_is_a_blank_in_words(telling):
    words = {"romantic": ["red", "tonight"]}
    masker = make_masker(telling, typical=words, mask_rate=0.0, style_word_rate=1.0)
    source = masker.mask("red sky tonight", "Romantic", random.Random(0))
    shown = f'fill in every {BLANK} of " {BLANK} sky {BLANK} " and write all of it as a Romantic reply.'
    assert read(telling, source).lower() == shown.lower()
    hidden = make_masker(telling, mask_style_rate=1.0, mask_rate=1.0).mask("a sky", "romantic", random.Random(0))
    assert read(telling, hidden).endswith(f'of " {BLANK} {BLANK} " and write all of it as a {BLANK} reply.')


def test_blanks_that_are_longer_than_words_stay_within_the_source(telling, monkeypatch):
    """A blank of three tokens for words of one: room is counted as if all words were masked."""
    encode = telling.encode_text
    monkeypatch.setattr(
        telling, "encode_text", lambda text, **others: encode(" _ _ _" if text == " ____" else text, **others)
    )
    frame = len(encode(BLANKS_PROMPT.format(caption="", style="romantic")))
    masker = make_masker(telling, mask_rate=1.0, max_source_length=frame + 7)
    source = masker.mask("one two three four", "romantic", random.Random(0))
    assert len(source) == 2 + frame + 6  # two of the four words, a blank each
    hiding = make_masker(telling, mask_rate=1.0, mask_style_rate=1.0, max_source_length=frame + 7)
    source = hiding.mask("one two three four", "romantic", random.Random(0))
    assert len(source) == 2 + frame + 3 + 2  # one word, and the style's blank is two tokens longer than its name
    with pytest.raises(ValueError, match=f"takes {frame} tokens and a source has {frame + 2}, so there is no room"):
        make_masker(telling, max_source_length=frame + 2)


def test_mask_caption_without_words_has_no_mask(tokenizer):
    source = make_masker(tokenizer, mask_rate=1.0).mask(" ?! ", "neutral", random.Random(0))
    assert read(tokenizer, source) == 'what is the complete text of " "? write a neutral reply.'


def test_mask_long_caption_loses_words_at_its_end_and_keeps_the_style(tokenizer):
    frame = len(MASKED_PROMPT.format(caption="", style="romantic").split())
    masker = make_masker(tokenizer, mask_rate=1.0, max_source_length=frame + 3)
    source = read(tokenizer, masker.mask("one two three four", "romantic", random.Random(0)))
    assert source == 'what is the complete text of " <mask> <mask> <mask> "? write a romantic reply.'


def test_mask_first_word_longer_than_the_source_is_masked(ofa_tokenizer):
    frame = len(ofa_tokenizer.encode_text(MASKED_PROMPT.format(caption="|", style="humorous").replace(" |", "")))
    masker = make_masker(ofa_tokenizer, mask_rate=0.0, max_source_length=frame + 2)
    source = masker.mask("Taumatawhakatangihangakoauau hill", "humorous", random.Random(0))
    assert source.count(ofa_tokenizer.mask_token_id) == 1
    assert len(source) == frame + 1 + 2  # the mask; BOS and EOS


def test_masker_without_room_or_with_unknown_style_is_refused(tokenizer):
    with pytest.raises(
        ValueError, match="for style 'Romantic' takes 12 tokens and a source has 12, so there is no room"
    ):
        make_masker(tokenizer, max_source_length=12)
    with pytest.raises(ValueError, match="unknown style 'romance'; nearest: Romantic"):
        make_masker(tokenizer, typical={"romance": ["love"]})
    with pytest.raises(ValueError, match="unknown style 'romance'; nearest: Romantic"):
        make_masker(tokenizer).mask("a sky", "romance", random.Random(0))


def test_masked_source_corpus_texts_and_rows_are_drawn_alike_with_their_own_styles(tokenizer):
    corpus = [StyledText(f"text {number}", " ROMANTIC ", f"corpus.jsonl:{number}") for number in range(3)]
    source, generator = MaskedSource(make_masker(tokenizer), corpus), random.Random(2)
    counts = Counter()
    for _ in range(2000):
        text, ids = source.draw("own caption", "humorous", 7, generator)
        assert ("write a humorous reply." in read(tokenizer, ids)) == (text == "own caption")
        assert ("write a romantic reply." in read(tokenizer, ids)) == (text != "own caption")
        counts[text] += 1
    assert abs(counts.pop("own caption") - 2000 * 0.7) <= 3 * (2000 * 0.7 * 0.3) ** 0.5  # 61
    assert counts.keys() == {"text 0", "text 1", "text 2"}
    assert all(abs(count - 2000 * 0.1) <= 3 * (2000 * 0.1 * 0.9) ** 0.5 for count in counts.values())  # 40


def test_masked_source_corpus_with_unknown_style_names_file_and_line(tokenizer):
    with pytest.raises(ValueError, match=r"^corpus\.jsonl:4: unknown style 'gloomy'; nearest: "):
        MaskedSource(make_masker(tokenizer), [StyledText("rain", "gloomy", "corpus.jsonl:4")])
