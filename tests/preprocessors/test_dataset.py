from dataclasses import replace
from itertools import product

import pytest
import torch
from torch.utils.data import DataLoader

from preprocessors.collator import CaptionCollator
from preprocessors.dataset import CaptionDataset
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures import images
from preprocessors.pictures.images import ImageTransform
from preprocessors.text.corpora import StyledText
from preprocessors.text.masking import CaptionMasker, MaskedSource

CORPUS = [StyledText("stars fall", "humorous", "corpus.jsonl:1")]


def make_masked_dataset(
    example, word_tokenizer, registry, *, corpus=CORPUS, seed=7, style_dropout=0.0, training=True
) -> CaptionDataset:
    word_tokenizer.mask_token_id = 3
    word_tokenizer.encode_text("a red sky the blushes love at dusk stars fall")  # so that every copy has the same ids
    preprocessor = OFAStylePreprocessor(
        word_tokenizer, registry, image_transform=ImageTransform(4), style_dropout=style_dropout, seed=seed
    )
    rates = {"mask_rate": 0.5, "style_word_rate": 0.5, "mask_style_rate": 0.2, "max_source_length": 64}
    source = MaskedSource(CaptionMasker(word_tokenizer, registry, {}, **rates), corpus)
    return CaptionDataset([example] * 4, preprocessor, training, source)


def test_dataset_training_row_is_encoded_for_its_epoch(preprocessor, example):
    dataset = CaptionDataset([example, replace(example, captions=("x", "y"))], preprocessor, training=True)
    assert len(dataset) == 2
    for epoch in (0, 1, 5):
        dataset.set_epoch(epoch)
        expected = preprocessor.encode(dataset.examples[1], epoch=epoch, row=1, training=True)
        assert dataset[1]["labels"] == expected["labels"]
        assert torch.equal(dataset[1]["patch_image"], expected["patch_image"])


def test_dataset_worker_that_outlives_an_epoch_sees_the_next_one(preprocessor, example):
    dataset = CaptionDataset([example], preprocessor, training=True)
    preprocessor.tokenizer.encode_text(
        "a red sky the blushes love at dusk"
    )  # the stand-in numbers words as it meets them
    loader = DataLoader(dataset, num_workers=1, persistent_workers=True, collate_fn=CaptionCollator(1))
    for epoch in range(3):
        dataset.set_epoch(epoch)
        (batch,) = list(loader)
        assert batch["labels"][0].tolist() == dataset[0]["labels"]


def test_dataset_truncated_picture_names_row_and_file(preprocessor, example):
    bad = replace(example, image_path=example.image_path.with_name("c.png"))
    with pytest.raises(ValueError, match=r"^train\.jsonl, row 4: .*c\.png: the picture cannot be read"):
        CaptionDataset([bad], preprocessor, training=False)[0]


def test_dataset_masked_target_is_the_whole_caption_of_the_epoch_in_the_examples_own_style(
    example, word_tokenizer, registry
):
    dataset = make_masked_dataset(example, word_tokenizer, registry, corpus=[], style_dropout=1.0)
    prompts = set()
    for epoch, row in product(range(6), range(4)):
        dataset.set_epoch(epoch)
        item = dataset[row]
        assert item["masked_labels"] == item["labels"]
        assert 3 in item["masked_ids"]
        assert item["style"] == "neutral"  # style dropout is for the captioning task alone
        prompts.add(word_tokenizer.text_of(item["masked_ids"][-4:]))
        assert item["row"] == row
    assert prompts == {"a romantic reply.", "a reply."}  # the second: the style is masked


def test_dataset_corpus_text_comes_whole_with_its_style(example, word_tokenizer, registry):
    dataset = make_masked_dataset(example, word_tokenizer, registry)
    drawn = []
    for epoch, row in product(range(25), range(4)):
        dataset.set_epoch(epoch)
        item = dataset[row]
        text = word_tokenizer.text_of(item["masked_labels"])
        drawn.append(text == "stars fall")
        assert item["masked_labels"][-1] == word_tokenizer.eos_token_id
        assert "humorous" not in word_tokenizer.text_of(item["masked_ids"]) or text == "stars fall"
        assert "romantic" not in word_tokenizer.text_of(item["masked_ids"]) or text != "stars fall"
    assert 8 <= sum(drawn) <= 32  # 1 text to 4 rows: 20 of 100, standard deviation 4


def test_dataset_masks_depend_on_seed_epoch_and_row_alone(example, word_tokenizer, registry):
    def draw(dataset: CaptionDataset, epoch: int, row: int) -> tuple:
        dataset.set_epoch(epoch)
        item = dataset[row]
        return tuple(item["masked_ids"]), tuple(item["masked_labels"])

    example = replace(example, captions=("a red sky the sky blushes",))  # so that nothing but masks can differ
    places = list(product(range(8), range(4)))
    dataset = make_masked_dataset(example, word_tokenizer, registry)
    forth = {place: draw(dataset, *place) for place in places}
    again = make_masked_dataset(example, word_tokenizer, registry)
    assert {place: draw(again, *place) for place in reversed(places)} == forth
    other = make_masked_dataset(example, word_tokenizer, registry, seed=8)
    assert {place: draw(other, *place) for place in places} != forth
    by_row = [[forth[epoch, row] for epoch in range(8)] for row in range(4)]
    assert len({tuple(draws) for draws in by_row}) == 4

    loader = DataLoader(dataset, batch_size=3, num_workers=2, collate_fn=CaptionCollator(1))
    dataset.set_epoch(5)
    for batch in loader:
        for number, row in enumerate(batch["rows"].tolist()):
            ids, labels = forth[5, row]
            assert batch["masked_input_ids"][number, : len(ids)].tolist() == list(ids)
            assert batch["masked_labels"][number, : len(labels)].tolist() == list(labels)


def test_dataset_masks_in_training_only_and_only_if_asked(example, word_tokenizer, registry, preprocessor):
    validation = make_masked_dataset(example, word_tokenizer, registry, training=False)
    plain = CaptionDataset([example], preprocessor, training=True)
    for item in (validation[2], plain[0]):
        assert {"masked_ids", "masked_labels"}.isdisjoint(item)
    assert validation[2]["row"] == 2


@pytest.fixture
def opened(monkeypatch) -> list[str]:
    """Names of the pictures that are opened."""
    names = []
    load = images.load_image
    monkeypatch.setattr(images, "load_image", lambda path, *size: names.append(path.name) or load(path, *size))
    return names


def _three_rows(example):
    """Two styles of one picture, and another picture between them."""
    other = replace(example, image_path=example.image_path.with_name("b.png"))
    return [example, other, replace(example, style="humorous")]


@pytest.mark.parametrize("training", [True, False])
def test_dataset_batch_opens_a_picture_once_and_its_rows_are_those_asked_for_alone(
    word_tokenizer, registry, example, opened, training
):
    preprocessor = OFAStylePreprocessor(word_tokenizer, registry, image_transform=ImageTransform(4))
    dataset = CaptionDataset(_three_rows(example), preprocessor, training)
    together = dataset.__getitems__([2, 1, 0, 2])
    assert opened == ["a.png", "b.png"]
    assert together[0]["patch_image"] is together[2]["patch_image"] is together[3]["patch_image"]
    for item, row in zip(together, (2, 1, 0, 2), strict=True):
        alone = dataset[row]
        assert torch.equal(item.pop("patch_image"), alone.pop("patch_image"))
        assert item == alone
    dataset.set_epoch(1)
    (batch,) = DataLoader(dataset, batch_size=3, num_workers=1, collate_fn=CaptionCollator(1))
    assert batch["picture_rows"].tolist() == [0, 1, 0]


def test_dataset_random_crops_are_a_rows_own_and_never_shared(preprocessor, example, opened):
    dataset = CaptionDataset(_three_rows(example), preprocessor, training=True)
    drawn = []
    for epoch in range(6):
        dataset.set_epoch(epoch)
        together = dataset.__getitems__([0, 1, 2])
        assert len({id(item["patch_image"]) for item in together}) == 3
        assert all(torch.equal(item["patch_image"], dataset[row]["patch_image"]) for row, item in enumerate(together))
        drawn.append(torch.equal(together[0]["patch_image"], together[2]["patch_image"]))
    assert not all(drawn)
    validation = CaptionDataset(_three_rows(example), preprocessor, training=False)
    opened.clear()
    assert "picture_rows" in CaptionCollator(1)(validation.__getitems__([0, 1, 2]))
    assert opened == ["a.png", "b.png"]


def test_dataset_style_dropout_depends_on_seed_epoch_and_row_alone(example, word_tokenizer, registry):
    word_tokenizer.encode_text(
        " what does the image describe? write a romantic neutral reply. a red sky blushes love at"
    )

    def dataset(seed: int = 7) -> CaptionDataset:
        transform = ImageTransform(4)
        preprocessor = OFAStylePreprocessor(
            word_tokenizer, registry, image_transform=transform, style_dropout=0.5, seed=seed
        )
        return CaptionDataset([example] * 24, preprocessor, training=True)

    def drawn(data: CaptionDataset, epoch: int) -> list[str]:
        data.set_epoch(epoch)
        return [data[row]["style"] for row in range(24)]

    data = dataset()
    epochs = [drawn(data, epoch) for epoch in range(3)]
    assert len({tuple(styles) for styles in [*epochs, drawn(dataset(seed=8), 0)]}) == 4
    again = dataset()
    for epoch in (2, 0, 1):
        again.set_epoch(epoch)
        backwards = {row: again[row]["style"] for row in reversed(range(24))}
        assert [backwards[row] for row in range(24)] == epochs[epoch]
        loader = DataLoader(again, batch_size=5, num_workers=2, collate_fn=CaptionCollator(1))
        prompts = [ids.tolist() for batch in loader for ids in batch["input_ids"]]
        neutral = again.preprocessor.prompt_ids(None)
        assert [ids == neutral for ids in prompts] == [style == registry.neutral for style in epochs[epoch]]


@pytest.mark.parametrize(("count", "captions_per_row"), [(5, 2), (5, 3), (5, 5), (3, 5), (1, 4), (6, 4)])
def test_dataset_captions_of_a_row_take_turns_without_repeating(preprocessor, example, count, captions_per_row):
    """In n epochs each of n captions comes K times, and no caption twice before all have come once."""
    names = tuple(f"caption {number}" for number in range(count))
    examples = [replace(example, captions=names)] * 3
    dataset = CaptionDataset(examples, preprocessor, training=True, captions_per_row=captions_per_row)
    at_once = min(captions_per_row, count)
    for row in range(3):
        epochs = [dataset.captions_of(epoch, row) for epoch in range(count)]
        assert all(len(set(captions)) == at_once for captions in epochs)
        in_order = [caption for captions in epochs for caption in captions]
        assert all(set(in_order[start : start + count]) == set(names) for start in range(0, len(in_order), count))
    again = CaptionDataset(examples, preprocessor, training=True, captions_per_row=captions_per_row)
    assert again.captions_of(3, 1) == dataset.captions_of(3, 1)
    starts = {dataset.captions_of(0, row)[0] for row in range(3)}
    assert count < 5 or len(starts) > 1  # rows do not begin alike


def test_dataset_several_captions_are_for_training_and_lengths_count_them(preprocessor, example):
    examples = [replace(example, captions=("a red sky", "dusk", "at dusk the sky blushes")), example]
    training = CaptionDataset(examples, preprocessor, training=True, captions_per_row=3)
    labels = training[0]["caption_labels"]
    assert sorted(map(len, labels)) == [2, 4, 6]
    assert labels == [preprocessor.target_ids(caption) for caption in training.captions_of(0, 0)]
    assert (training.caption_length(0, 0), training.caption_tokens(0, 0)) == (6, 12)
    validation = CaptionDataset(examples, preprocessor, training=False, captions_per_row=3)
    assert "caption_labels" not in validation[0]
    assert "caption_labels" not in CaptionDataset(examples, preprocessor, training=True)[0]
