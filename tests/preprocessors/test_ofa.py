import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from models.ofa.tokenization_ofa import OFATokenizer
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.captions import clean_caption
from preprocessors.text.styles import StyleRegistry


@pytest.fixture(scope="module")
def ofa_tokenizer(shared: Path) -> OFATokenizer:
    return OFATokenizer.from_pretrained(shared / "data" / "ofa_bpe")


@pytest.fixture(scope="module")
def golden(shared: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    folder = shared / "golden" / "preprocess"
    return json.loads((folder / "tokenizer.json").read_text()), load_file(folder / "samples.safetensors")


def make_preprocessor(tokenizer, **settings) -> OFAStylePreprocessor:
    registry = settings.pop("registry", StyleRegistry(["Romantic", "Humorous"]))
    return OFAStylePreprocessor(tokenizer, registry, image_transform=ImageTransform(4), **settings)


@pytest.mark.parametrize("number", range(4))
def test_target_ids_golden_captions_are_exact(ofa_tokenizer, golden, number: int):
    texts, samples = golden
    target = make_preprocessor(ofa_tokenizer).target_ids(texts["train_texts_by_image"][number])
    assert target == samples[f"target_224_{number}"].tolist()
    assert [ofa_tokenizer.bos_token_id, *target[:-1]] == samples[f"prev_224_{number}"].tolist()


def test_prompt_ids_golden_prompt_is_exact(ofa_tokenizer, golden):
    texts, samples = golden
    source = make_preprocessor(ofa_tokenizer, prompt=texts["prompt"]).prompt_ids(None)
    assert source == samples["source_224_0"].tolist()


def test_prompt_ids_code_is_one_reserved_token(ofa_tokenizer):
    registry = StyleRegistry([f"style {number}" for number in range(8)], inject="code")
    ids = make_preprocessor(ofa_tokenizer, registry=registry).prompt_ids("STYLE 7")
    # Golden ids of "what does the image describe? write a <code_7> reply." but for the leading space of our prompt.
    assert ids == [0, 99, 473, 5, 2274, 6190, 116, 3116, 10, 1437, 50272, 10418, 4, 2]


@pytest.mark.parametrize(
    ("caption", "cleaned"),
    [
        ("  I'm no pro, but... ", "Im no pro but"),
        ("well-known (A)\tB\n\nC", "wellknown A B C"),
        (
            "r\u00e9sum\u00e9 \u2013 \u201cok\u201d",
            "r\u00e9sum\u00e9 \u2013 \u201cok\u201d",
        ),  # only ASCII punctuation goes
        ("!?.", ""),
    ],
)
def test_clean_caption_removes_ascii_punctuation_only(caption: str, cleaned: str):
    assert clean_caption(caption) == cleaned


def test_target_ids_keeps_first_words_then_first_ids(word_tokenizer):
    preprocessor = make_preprocessor(word_tokenizer, max_target_length=3)
    assert word_tokenizer.text_of(preprocessor.target_ids("one, two - three four")) == "one two three"
    preprocessor = make_preprocessor(word_tokenizer, max_source_length=2)
    assert len(preprocessor.target_ids("one two three four")) == 2 + 1  # EOS comes after the cut


def test_target_ids_of_punctuation_is_eos_alone(word_tokenizer):
    assert make_preprocessor(word_tokenizer).target_ids("...") == [word_tokenizer.eos_token_id]


def test_prompt_ids_holds_style_and_none_is_neutral(word_tokenizer):
    preprocessor = make_preprocessor(word_tokenizer)
    ids = preprocessor.prompt_ids(" ROMANTIC ")
    assert (ids[0], ids[-1]) == (word_tokenizer.bos_token_id, word_tokenizer.eos_token_id)
    assert word_tokenizer.text_of(ids) == "what does the image describe? write a romantic reply."
    assert preprocessor.prompt_ids(None) == preprocessor.prompt_ids("neutral") != ids
    ids.append(99)
    assert preprocessor.prompt_ids("romantic") == ids[:-1]  # the cache is not what the caller gets


def test_prompt_ids_unknown_style_is_refused(word_tokenizer):
    with pytest.raises(ValueError, match="unknown style 'romance'; nearest: Romantic"):
        make_preprocessor(word_tokenizer).prompt_ids("romance")


def test_prompt_with_two_slots_is_refused(word_tokenizer):
    with pytest.raises(ValueError, match="more than one '{}'"):
        make_preprocessor(word_tokenizer, prompt="{} and {}")


def test_encode_not_training_gives_first_caption_whole_picture_and_own_style(preprocessor, example):
    encoded = [preprocessor.encode(example, epoch=epoch, row=5) for epoch in range(3)]
    assert {tuple(item["labels"]) for item in encoded} == {tuple(preprocessor.target_ids("a red sky"))}
    assert all(torch.equal(item["patch_image"], encoded[0]["patch_image"]) for item in encoded)
    assert encoded[0]["style"] == "Romantic"
    assert encoded[0]["example_id"] == "a.png#romantic"
    assert encoded[0]["input_ids"] == preprocessor.prompt_ids("Romantic")
    assert encoded[0]["patch_mask"] is True
    assert encoded[0]["row"] == 5
    assert preprocessor.encode(example)["row"] == 0


def test_encode_training_captions_take_turns_from_a_start_that_depends_on_the_row(preprocessor, example):
    def caption(epoch: int, row: int) -> str:
        return preprocessor.tokenizer.text_of(
            preprocessor.encode(example, epoch=epoch, row=row, training=True)["labels"]
        )

    cycle = [caption(epoch, row=0) for epoch in range(6)]
    assert sorted(cycle[:3]) == ["a red sky", "love at dusk", "the sky blushes"]
    assert cycle[3:] == cycle[:3]
    turns = [clean_caption(preprocessor.caption_of(example, epoch=epoch, row=0)) for epoch in range(6)]
    assert turns == cycle
    assert {caption(0, row) for row in range(20)} == set(cycle)


def test_encode_training_is_a_pure_function_of_seed_epoch_and_row(word_tokenizer, registry, example):
    def draw(epoch: int, row: int, seed: int = 7) -> tuple:
        transform = ImageTransform(4, random_crop_from=60)
        preprocessor = OFAStylePreprocessor(
            word_tokenizer, registry, image_transform=transform, style_dropout=0.5, seed=seed
        )
        encoded = preprocessor.encode(example, epoch=epoch, row=row, training=True)
        return tuple(encoded["patch_image"].flatten().tolist()), encoded["style"], tuple(encoded["labels"])

    assert draw(2, 3) == draw(2, 3)
    crops = {draw(epoch, row, seed)[0] for epoch, row, seed in [(2, 3, 7), (3, 2, 7), (2, 4, 7), (2, 3, 8)]}
    assert len(crops) == 4


def test_encode_training_style_dropout_gives_neutral_at_its_rate(word_tokenizer, registry, example):
    preprocessor = OFAStylePreprocessor(
        word_tokenizer, registry, image_transform=ImageTransform(1), style_dropout=0.25, seed=1
    )
    encoded = [preprocessor.encode(example, row=row, training=True) for row in range(400)]
    counts = Counter(item["style"] for item in encoded)
    assert counts.keys() == {"Romantic", "neutral"}
    assert 70 <= counts["neutral"] <= 130  # 100 expected, standard deviation 8.7
    dropped = next(item for item in encoded if item["style"] == "neutral")
    assert dropped["input_ids"] == preprocessor.prompt_ids(None)
    assert dropped["example_id"] == "a.png#romantic"


@pytest.mark.parametrize(("name", "error"), [("c.png", ValueError), ("gone.png", FileNotFoundError)])
def test_encode_bad_picture_names_annotation_row_and_file(preprocessor, example, name: str, error: type[Exception]):
    bad = replace(example, image_path=example.image_path.with_name(name))
    with pytest.raises(error, match=rf"^train\.jsonl, row 4: .*{name}: .*picture"):
        preprocessor.encode(bad)


def test_encode_unknown_style_names_annotation_row(preprocessor, example):
    with pytest.raises(ValueError, match=r"^train\.jsonl, row 4: unknown style 'Romatic'; nearest: Romantic"):
        preprocessor.encode(replace(example, style="Romatic"))
