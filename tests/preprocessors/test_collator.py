import torch

from preprocessors.collator import CaptionCollator

PAD, EOS = 1, 2


def encoded(input_ids: list[int], labels: list[int], fill: float, **masked: list[int]) -> dict:
    image = torch.full((3, 4, 5), fill) + torch.arange(60.0).reshape(3, 4, 5) / 100
    return {
        "example_id": "a#b",
        "row": 40 + int(fill),
        "style": "b",
        "input_ids": input_ids,
        "patch_image": image,
        "patch_mask": True,
        "labels": labels,
        **masked,
    }


def test_collator_pads_each_tensor_on_the_right_with_its_own_filler():
    batch = CaptionCollator(PAD)([encoded([0, 7, 2], [8, 9, EOS], 0), encoded([0, 5, 6, 4, 2], [EOS], 1)])
    assert batch["input_ids"].tolist() == [[0, 7, 2, PAD, PAD], [0, 5, 6, 4, 2]]
    assert batch["labels"].tolist() == [[8, 9, EOS], [EOS, -100, -100]]
    assert all(batch[name].dtype == torch.int64 for name in ("input_ids", "labels"))
    assert batch["patch_masks"].tolist() == [True, True]
    assert batch["patch_masks"].dtype == torch.bool


def test_collator_images_are_channels_last_and_in_order():
    items = [encoded([0, 2], [EOS], fill) for fill in (0, 1, 2)]
    images = CaptionCollator(PAD)(items)["patch_images"]
    assert torch.equal(images, torch.stack([item["patch_image"] for item in items]))
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_collator_batch_holds_only_tensors():
    batch = CaptionCollator(PAD)([encoded([0, 2], [EOS], 0)])
    assert batch.keys() == {"rows", "input_ids", "patch_images", "patch_masks", "labels"}
    assert all(isinstance(value, torch.Tensor) for value in batch.values())


def test_collator_masked_sentences_are_padded_apart_from_the_captions():
    items = [
        encoded([0, 2], [8, EOS], 2, masked_ids=[0, 3, 3, 7, 2], masked_labels=[4, EOS]),
        encoded([0, 2], [EOS], 5, masked_ids=[0, 3, 2], masked_labels=[5, 6, 7, EOS]),
    ]
    batch = CaptionCollator(PAD)(items)
    assert batch["masked_input_ids"].tolist() == [[0, 3, 3, 7, 2], [0, 3, 2, PAD, PAD]]
    assert batch["masked_labels"].tolist() == [[4, EOS, -100, -100], [5, 6, 7, EOS]]
    assert batch["labels"].tolist() == [[8, EOS], [EOS, -100]]
    assert batch["rows"].tolist() == [42, 45]
    names = ("rows", "masked_input_ids", "masked_labels")
    assert all(batch[name].dtype == torch.int64 for name in names)


def test_collator_captions_of_a_row_stand_together_and_missing_ones_are_ignored():
    items = [
        encoded([0, 2], [9], 2, caption_labels=[[8, EOS], [EOS], [4, 5, EOS]]),
        encoded([0, 2], [9], 5, caption_labels=[[6, EOS]]),
    ]
    batch = CaptionCollator(PAD)(items)
    none = [-100, -100, -100]
    assert batch["labels"].tolist() == [[[8, EOS, -100], [EOS, -100, -100], [4, 5, EOS]], [[6, EOS, -100], none, none]]
    assert batch["labels"].dtype == torch.int64
    assert len(batch["input_ids"]) == len(batch["patch_images"]) == 2


def test_collator_rows_do_not_depend_on_batch_order():
    items = [encoded([0, 7, 2], [8, EOS], 0), encoded([0, 5, 6, 2], [9, 9, 9, EOS], 1)]
    forth, back = CaptionCollator(PAD)(items), CaptionCollator(PAD)(items[::-1])
    assert all(torch.equal(forth[name], back[name].flip(0)) for name in forth)


def test_collator_rows_that_hold_one_tensor_share_a_picture_and_equal_pixels_alone_do_not():
    first, second, alike = (encoded([0, 2], [EOS], fill) for fill in (0, 1, 0))
    again = encoded([0, 5, 2], [EOS], 2) | {"patch_image": first["patch_image"]}
    batch = CaptionCollator(PAD)([first, second, again, alike])
    assert batch["picture_rows"].tolist() == [0, 1, 0, 2]
    assert torch.equal(batch["patch_images"], torch.stack([i["patch_image"] for i in (first, second, alike)]))
    assert batch["patch_images"].is_contiguous(memory_format=torch.channels_last)
    assert len(batch["input_ids"]) == len(batch["patch_masks"]) == 4


def test_collator_features_are_shared_like_pixels():
    features = [torch.full((2, 3, 1), float(fill)) for fill in range(2)]
    items = [encoded([0, 2], [EOS], 0) | {"image_features": features[number]} for number in (0, 1, 1)]
    batch = CaptionCollator(PAD)(items)
    assert torch.equal(batch["image_features"], torch.stack(features))
    assert batch["picture_rows"].tolist() == [0, 1, 1]
