"""Ids from a table of pieces are those of the library, in every text."""

from __future__ import annotations

import json
import random
import unicodedata

import numpy as np
import pytest

from preprocessors.documents import piece_cache
from preprocessors.documents.byte_pairs import BytePairTokenizer
from preprocessors.documents.piece_cache import PackedEncoder


def reference(tokenizer: BytePairTokenizer, texts: list[str], dtype: str = "<u2") -> list[bytes]:
    return [np.array(ids, dtype).tobytes() for ids in tokenizer.encode_batch(texts)]


def special_characters() -> list[str]:
    """All of ASCII and all kinds of space, and of every other category of Unicode some."""
    chosen = {chr(number) for number in (*range(0x250), *range(0x2000, 0x2070), 0x1680, 0x3000, 0x85, 0xFEFF)}
    of_category: dict[str, list[str]] = {}
    for number in range(0x110000):
        if not 0xD800 <= number < 0xE000 and number % 7 == 0:
            of_category.setdefault(unicodedata.category(chr(number)), []).append(chr(number))
    for characters in of_category.values():
        chosen.update(random.Random(0).sample(characters, min(20, len(characters))))
    return sorted(chosen)


def test_packed_encoder_gives_the_librarys_ids_around_every_kind_of_character(tokenizer: BytePairTokenizer):
    texts = [f"a{c}b {c} {c}c\n{c}  {c}{c} 's{c}'s \n{c}'ll9{c}9 é{c} !{c}!" for c in special_characters()]
    assert PackedEncoder(tokenizer, "<u2").encode(texts) == reference(tokenizer, texts)


def test_packed_encoder_gives_the_librarys_ids_of_random_texts(tokenizer: BytePairTokenizer):
    draw = random.Random(1)
    alphabet = "thecatson ' \t\n\x0b\x1c\x1fZ09.,!-_é\u00a0\u2028\u3000中²"
    texts = ["".join(draw.choices(alphabet, k=draw.randint(0, 30))) for _ in range(3000)]
    assert PackedEncoder(tokenizer, "<u4").encode(texts) == reference(tokenizer, texts, "<u4")


def test_packed_encoder_with_a_full_table_gives_the_same_and_begins_anew_at_last(tokenizer, monkeypatch):
    monkeypatch.setattr(piece_cache, "MOST_PIECES", 3)
    encoder = PackedEncoder(tokenizer, "<u2")
    known = []
    for text in ["the cat sat on the mat"] * 2 + ["a dog, a hen; the sea", "roof "] * 4:
        assert encoder.encode([text]) == reference(tokenizer, [text])
        known.append({*encoder._known})
    assert known[0] == known[1] == {"the", " cat", " sat"}
    assert known[-1] != known[0]
    assert max(map(len, known)) == 3


def test_packed_encoder_does_not_remember_texts_without_spaces(tokenizer: BytePairTokenizer):
    """Each would be a piece of its own, and a table of them as large as a corpus."""
    texts = ["\u4e2d" * 40, "a" * 40, "the caf\u00e9\x1csat on the mat and on the roof", "the \u4e2d\u4e2d"]
    encoder = PackedEncoder(tokenizer, "<u2")
    assert encoder.encode(texts) == reference(tokenizer, texts)
    assert {*encoder._known} == {"the", " \u4e2d\u4e2d"}


@pytest.mark.parametrize("as_gpt2", [True, False])
def test_packed_encoder_of_a_long_text_in_slices_gives_the_same(tokenizer, monkeypatch, as_gpt2: bool):
    monkeypatch.setattr(piece_cache, "SLICE", 10)
    described = tokenizer._described([])
    if not as_gpt2:
        described["pre_tokenizer"] = {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            ],
        }
    other = BytePairTokenizer(json.loads(json.dumps(described)), bos="<s>", eos="</s>")
    assert other.splits_as_gpt2 == as_gpt2
    texts = ["short", "the cat sat on the mat, and the dog 's dog sat at sea  \n in 1234567 seas" * 3, "é" * 40]
    assert PackedEncoder(other, "<u2").encode(texts) == reference(other, texts)
