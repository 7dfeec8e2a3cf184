from __future__ import annotations

import random

import pytest

from preprocessors.text.bpe import train_bpe
from preprocessors.text.masking import CaptionMasker
from preprocessors.text.style_words import foreign_token_ids, style_word_scores, typical_words
from preprocessors.text.styles import StyleRegistry
from preprocessors.text.words import compared_word, compared_words, split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("two red dogs", [" two", " red", " dogs"]),
        ("我爱 dogs很", [" 我", "爱", " dogs", "很"]),
        ("น้ำใส", [" น้ำ"[:3], "ำ", "ใ", "ส"]),  # a vowel that takes room of its own is a character
        ("がか\u3099", [" が", "か\u3099"]),
        ("한국어 좋다", [" 한국어", " 좋다"]),
        ("عاطفي جدا", [" عاطفي", " جدا"]),
        ("", []),
    ],
)
def test_split_words_divides_scripts_without_spaces_by_character(text, words):
    assert split_words(text) == words
    assert "".join(split_words(text)).strip() == text


def test_compared_words_by_rule():
    text = "“We're there,” we-- said ... 我爱。"
    kept = ["we're", "there", "we", "said", "我", "爱"]
    assert compared_words(text, "keep") == kept
    assert [word for part in split_words(text) if (word := compared_word(part, "keep"))] == kept
    assert compared_words("Red sky, RED", "strip") == ["red", "sky,", "red"]


def test_style_word_scores_know_characters_and_kept_apostrophes():
    chinese = typical_words(style_word_scores({"浪漫": ["月光下的爱"] * 40, "幽默": ["哈哈下的狗"] * 40}))
    assert chinese == {"浪漫": frozenset("月光爱"), "幽默": frozenset("哈狗")}
    english = {"a": ["it's, it's the sea"] * 40, "b": ["its the sky"] * 40}
    assert typical_words(style_word_scores(english, "keep")) == {"a": {"it's", "sea"}, "b": {"its", "sky"}}
    assert typical_words(style_word_scores(english)) == {"a": {"its", "sea"}, "b": {"sky"}}


def test_foreign_token_ids_take_characters_without_a_space(tmp_path):
    from models.ofa import OFATokenizer

    train_bpe(["光", "哈"] * 20, tmp_path, 300)
    tokenizer = OFATokenizer.load_from_dir(tmp_path, num_codes=0, num_bins=0)
    found = foreign_token_ids({"x": frozenset("光"), "y": frozenset("哈")}, tokenizer.encode_text)
    whole = {word: tokenizer.encode_text(word) for word in "光哈"}
    assert found == {"x": whole["哈"], "y": whole["光"]}


@pytest.mark.parametrize("caption", ["月光下的爱很长", "他说 “好”，走了"])
def test_masking_of_a_script_without_spaces_masks_characters_not_the_whole_caption(tmp_path, caption):
    from models.ofa import OFATokenizer

    train_bpe([caption], tmp_path, 300, punctuation="keep")
    tokenizer = OFATokenizer.load_from_dir(tmp_path, num_codes=0, num_bins=0)
    rates = {"mask_rate": 1e-9, "style_word_rate": 1.0, "mask_style_rate": 0.0, "max_source_length": 256}
    typical = {"浪漫": [caption[1]]}
    masker = CaptionMasker(tokenizer, StyleRegistry(["浪漫"]), typical, **rates, punctuation="keep")
    source = masker.mask(caption, "浪漫", random.Random(0))
    assert source.count(tokenizer.mask_token_id) == 1
    shown = tokenizer.decode([token for token in source if token != tokenizer.mask_token_id], skip_special_tokens=True)
    assert caption.replace(caption[1], "", 1) in shown


def test_masking_with_keep_finds_the_style_s_words_whatever_stands_around_them(word_tokenizer):
    word_tokenizer.mask_token_id = 3
    rates = {"mask_rate": 1e-9, "style_word_rate": 1.0, "mask_style_rate": 0.0, "max_source_length": 256}
    masker = CaptionMasker(word_tokenizer, StyleRegistry(["a"]), {"a": ["we're"]}, **rates, punctuation="keep")
    source = masker.mask('"We\'re here," we said.', "a", random.Random(0))
    shown = ["<mask>" if token == 3 else word_tokenizer.text_of([token]) for token in source[1:-1]]
    assert " ".join(shown).startswith('what is the complete text of " <mask> here," we said. "')
