import json
from pathlib import Path

import pytest
from tokenizers import pre_tokenizers

from models.ofa.tokenization_ofa import OFATokenizer
from preprocessors.text.bpe import train_bpe
from preprocessors.text.prompts import DEFAULT_PROMPT

CAPTIONS = [
    "A red circle, above a blue square.",
    "the blue circle is beside the red star!",
    "A star above the square",
] * 5


def vocabulary_of(folder: Path) -> dict[str, int]:
    return json.loads((folder / "vocab.json").read_text(encoding="utf-8"))


def test_train_bpe_writes_the_published_layout(tmp_path: Path):
    size = train_bpe(CAPTIONS, tmp_path / "model", 290)
    vocabulary = vocabulary_of(tmp_path / "model")
    assert list(vocabulary)[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert vocabulary["<mask>"] == size - 1 == len(vocabulary) - 1
    assert list(vocabulary.values()) == list(range(290))
    assert set(pre_tokenizers.ByteLevel.alphabet()) <= vocabulary.keys()
    merges = (tmp_path / "model" / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert merges[0] == "#version: 0.2"
    assert all(merge.replace(" ", "", 1) in vocabulary and merge.count(" ") == 1 for merge in merges[1:])
    assert len(merges) - 1 == 290 - 4 - 256 - 1


def test_train_bpe_same_texts_give_same_files(tmp_path: Path):
    for name, captions in (("one", CAPTIONS), ("two", CAPTIONS[::-1])):
        train_bpe(captions, tmp_path / name, 340, extra_texts=[DEFAULT_PROMPT.format("calm")])
    for file in ("vocab.json", "merges.txt"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_train_bpe_words_are_whole_first_in_the_caption_and_later(tmp_path: Path):
    prompt = DEFAULT_PROMPT.format("calm")
    size = train_bpe(CAPTIONS, tmp_path, 2000, extra_texts=[prompt])
    assert size < 2000  # these few words have no more to merge
    tokenizer = OFATokenizer.from_pretrained(tmp_path, num_codes=0, num_bins=0)
    assert len(tokenizer.encode_text("A red circle above the square")) == 6
    assert len(tokenizer.encode_text("the star is beside A circle")) == 6
    assert len(tokenizer.encode_text(prompt)) == 11  # 9 words, "?" and "."
    text = "Zoë's émigré café 日本 😀"
    assert tokenizer.decode(tokenizer.encode_text(text)) == text


def test_train_bpe_too_small_or_without_captions_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"model\.bpe_size=260: must be at least 261"):
        train_bpe(CAPTIONS, tmp_path, 260)
    with pytest.raises(ValueError, match="no captions to train a BPE on"):
        train_bpe(["...", ""], tmp_path, 300)
    assert list(tmp_path.iterdir()) == []
