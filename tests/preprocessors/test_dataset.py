from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from preprocessors.collator import CaptionCollator
from preprocessors.dataset import CaptionDataset


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
    loader = DataLoader(dataset, num_workers=1, persistent_workers=True, collate_fn=CaptionCollator(1, 0))
    for epoch in range(3):
        dataset.set_epoch(epoch)
        (batch,) = list(loader)
        assert batch["labels"][0].tolist() == dataset[0]["labels"]


def test_dataset_truncated_picture_names_row_and_file(preprocessor, example):
    bad = replace(example, image_path=example.image_path.with_name("c.png"))
    with pytest.raises(ValueError, match=r"^train\.jsonl, row 4: .*c\.png: the picture cannot be read"):
        CaptionDataset([bad], preprocessor, training=False)[0]
