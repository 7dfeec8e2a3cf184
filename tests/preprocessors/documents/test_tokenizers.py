"""Tokenizers of text models: what they make of texts, and the folders they come from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer

from models.ofa import OFATokenizer
from preprocessors.documents.byte_pairs import BytePairTokenizer
from preprocessors.documents.codes import ControlCodes
from preprocessors.documents.folders import open_text_tokenizer
from preprocessors.documents.training import TextSample, train_tokenizer
from preprocessors.text.bpe import train_bpe
from preprocessors.text.styles import StyleRegistry

TEXTS = ["the cat sat on the roof .", " dogs\n\n  don't", "snow\u2028 and ü 😀", "<s> is </s> and <code_1>"]


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer's files of a captioner's folder, with three codes and two tokens for styles."""
    folder = tmp_path_factory.mktemp("captioner")
    train_bpe(["the cat sat on the mat"], folder, 300)
    appended = {"num_codes": 3, "num_bins": 0, "style_tokens": ["<style_0>", "<style_1>"]}
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "OFATokenizer", **appended}))
    return folder


def test_text_tokenizer_of_a_captioner_gives_the_captioners_ids(captioner: Path):
    theirs, ours = OFATokenizer.load_from_dir(captioner), open_text_tokenizer(captioner)
    assert len(ours) == len(theirs)
    assert (ours.bos_id, ours.eos_id) == (theirs.bos_token_id, theirs.eos_token_id)
    assert ours.encode_batch(TEXTS[:3]) == [theirs.encode_text(text) for text in TEXTS[:3]]
    assert ours.encode_code("<style_1>") == theirs.encode_text("<style_1>") == [len(theirs) - 1]


def test_text_tokenizer_takes_nothing_in_a_text_for_a_special_token(captioner: Path):
    ours = open_text_tokenizer(captioner)
    (ids,) = ours.encode_batch([TEXTS[3]])
    assert not {ours.bos_id, ours.eos_id, *ours.encode_code("<code_1>")} & {*ids}
    assert ours.decode([ours.bos_id, *ours.encode_code("<style_0>"), *ids, ours.eos_id]) == TEXTS[3]


@pytest.mark.parametrize("text", TEXTS)
def test_text_tokenizer_decodes_what_it_encoded(tokenizer: BytePairTokenizer, text: str):
    assert tokenizer.decode(tokenizer.encode_batch([text])[0]) == text


def test_text_tokenizer_that_is_saved_opens_as_the_same_one(captioner: Path, tmp_path: Path):
    ours = open_text_tokenizer(captioner)
    ours.save_to_dir(tmp_path)
    again = open_text_tokenizer(tmp_path)
    assert again.digest() == ours.digest()
    assert again.encode_batch(TEXTS) == ours.encode_batch(TEXTS)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.encode(TEXTS[0]) == ours.encode_batch(TEXTS[:1])[0]
    assert (theirs.bos_token_id, theirs.eos_token_id, len(theirs)) == (ours.bos_id, ours.eos_id, len(ours))


def test_digest_differs_with_the_entries_behind_a_vocabulary(captioner: Path, tmp_path: Path):
    shutil.copytree(captioner, tmp_path / "more")
    description = json.loads((captioner / "tokenizer_config.json").read_text())
    (tmp_path / "more/tokenizer_config.json").write_text(json.dumps(description | {"style_tokens": ["<style_0>"]}))
    assert open_text_tokenizer(tmp_path / "more").digest() != open_text_tokenizer(captioner).digest()


def test_text_tokenizer_of_gpt2s_two_files_ends_documents_as_gpt2(tmp_path: Path):
    train_bpe(["the cat sat on the mat"], tmp_path, 300)
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    renamed = {"<|endoftext|>" if entry == "</s>" else entry: number for entry, number in vocabulary.items()}
    (tmp_path / "vocab.json").write_text(json.dumps(renamed))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|endoftext|>"}}')
    ours = open_text_tokenizer(tmp_path)
    assert (ours.bos_id, ours.eos_id, len(ours)) == (2, 2, len(vocabulary))


def test_folder_without_a_byte_level_bpe_is_refused(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="holds no tokenizer, which is tokenizer.json or vocab.json and merges"):
        open_text_tokenizer(tmp_path)
    Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="<s>")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match=r"tokenizer\.json: the tokenizer is no BPE"):
        open_text_tokenizer(tmp_path)
    described = json.loads((tmp_path / "tokenizer.json").read_text())
    model = {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1}, "merges": []}
    (tmp_path / "tokenizer.json").write_text(json.dumps(described | {"model": model}))
    with pytest.raises(ValueError, match="has no entry for 256 of the 256 bytes"):
        open_text_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json, line 1, column 2: not valid JSON"):
        open_text_tokenizer(tmp_path)


def test_train_tokenizer_too_small_a_vocabulary_is_refused():
    with pytest.raises(ValueError, match="model.bpe_size=259: must be at least 260"):
        train_tokenizer(["a"], 259)


def test_text_sample_keeps_an_even_part_within_its_bytes():
    sample = TextSample(most_bytes=10_000)
    for number in range(100_000):
        sample.add(f"{number:05}")
    kept = [int(text) for text in sample.texts()]
    assert 1_000 <= len(kept) <= 2_000  # five bytes each; half of them go when it is full
    assert sorted(kept) == kept
    assert sum(kept) / len(kept) == pytest.approx(50_000, rel=0.05)


def test_control_codes_of_free_words_are_text(tokenizer: BytePairTokenizer):
    codes = ControlCodes(tokenizer, None)
    assert tokenizer.decode(codes.ids(("Cats", "dogs"))) == "Cats, dogs\n"
    assert tokenizer.decode(codes.ids(("</s>",))) == "</s>\n"
    assert codes.ids(()) == codes.ids(("",)) == codes.ids((" ",)) == []
    assert codes.ids((" Cats", "", "dogs ")) == codes.ids(("Cats", "dogs"))


def test_text_that_is_no_utf8_is_refused(tokenizer: BytePairTokenizer):
    with pytest.raises(ValueError, match="not UTF-8"):
        tokenizer.encode_batch(["a", b"b\xff".decode(errors="surrogateescape")])


def test_control_codes_of_styles_are_what_the_registry_injects(captioner: Path):
    ours = open_text_tokenizer(captioner)
    words = ControlCodes(ours, StyleRegistry(["Sweet", "neutral"], aliases={"nice": "Sweet"}))
    assert ours.decode(words.ids(("nice",))) == "sweet\n"
    assert words.ids(("Neutral",)) == []
    tokens = ControlCodes(ours, StyleRegistry(["Sweet", "Sour", "neutral"], inject="token"))
    assert tokens.ids(("Sour",)) == [len(ours) - 1]
    with pytest.raises(ValueError, match="a.jsonl, line 3: unknown style 'Swet'; nearest: Sweet"):
        words.ids(("Swet",), "a.jsonl, line 3")
