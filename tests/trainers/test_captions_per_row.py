"""Several captions of a row on one encoder pass: the update of separate rows with the same captions."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest
import torch

from pipeline.prepare import prepare
from pipeline.training import build_trainer, training_arguments
from preprocessors.collator import CaptionCollator
from trainers.objective import ForeignTokens, targets_of
from trainers.pieces import split_batch
from utils.io import read_jsonl

COUNTS = (3, 1, 2, 5, 1, 4)
"""Captions of the rows, in turn."""
WORDS = "blue red green black white square circle star above below dreams sails".split()


@pytest.fixture
def document(tiny_document, scenes, tmp_path):
    """Eight rows of two pictures with 1 to 5 captions of 1 to 9 words; nothing drawn, batch statistics frozen."""
    rows = [row for _, row in read_jsonl(scenes / "train.jsonl")][:8]
    for number, row in enumerate(rows):
        counted = range(COUNTS[number % len(COUNTS)])
        row["captions"] = [" ".join(WORDS[(number + k) % 3 :][: 1 + (number + 3 * k) % 9]) for k in counted]
    folder = tmp_path / "uneven"
    folder.mkdir()
    for name, content in (("train", rows), ("val", rows[:2])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    overrides = tiny_document["model"]["overrides"] | {"dropout": 0.0, "init_std": 0.3}
    still = {"freeze": ["batch_norm"], "warmup": 0.0, "lr": 0.5, "batch_size": 8, "captions_per_row": 4}
    return tiny_document | {
        "model": tiny_document["model"] | {"overrides": overrides},
        "data": {"format": "jsonl", "annotations": str(folder), "images": str(scenes / "images")},
        "train": still,
    }


def make(document, load):
    config = load(document)
    args = training_arguments(config)
    args.report_to, args.eval_strategy, args.save_strategy, args.load_best_model_at_end = [], "no", "no", False
    return build_trainer(args, prepare(config))


def apart(items):
    """A row for each caption, with pixels of its own; no masked captions."""
    left_out = ("caption_labels", "patch_image", "labels", "masked_ids", "masked_labels")
    return [
        {name: value for name, value in item.items() if name not in left_out}
        | {"labels": labels, "patch_image": item["patch_image"].clone()}
        for item in items
        for labels in item["caption_labels"]
    ]


def on_device(trainer, batch):
    """What the losses take, in float64."""
    return {name: t.double() if t.is_floating_point() else t for name, t in trainer._prepare_inputs(batch).items()}


def gradients(trainer, batches):
    """Of a step over these micro-batches, in float64."""
    model = trainer.model.double().train()
    model.zero_grad()
    batches = [on_device(trainer, batch) for batch in batches]
    tokens = torch.tensor([*trainer.count_tokens(batches)])
    for batch in batches:
        trainer.step_loss(model, batch, tokens).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_equal(ours, others):
    assert ours.keys() == others.keys()
    assert max(gradient.abs().max() for gradient in ours.values()) > 1e-3
    for name, gradient in ours.items():
        assert (others[name] - gradient).norm() <= 1e-6 * gradient.norm() + 1e-9, name


@pytest.mark.parametrize(
    "groups",
    [
        {},
        {"train": {"label_smoothing": 0.0, "group_pictures": True, "group_lengths": True}},
        {"train": {"drop_worst": 0.3}},
        {"train": {"rdrop": 0.5}},
        {"unlikelihood": {"repetition": 0.5}},
        {"masked_lm": {"weight": 0.7}},
    ],
)
def test_gradients_are_those_of_a_row_for_each_caption(document, load, groups):
    document |= groups | {"train": document["train"] | groups.get("train", {})}
    trainer = make(document, load)
    if "unlikelihood" in groups:  # each row has foreign tokens of its own
        weights = trainer.objective.weights | {"unlikelihood_leakage": 0.5}
        foreign = ForeignTokens(torch.eye(8, len(trainer.captioner.tokenizer)).bool(), torch.arange(8))
        trainer.objective = replace(trainer.objective, weights=weights, foreign=foreign)
    data, collate = trainer.train_dataset, trainer.data_collator
    items = data.__getitems__([*range(8)])
    assert [len(item["caption_labels"]) for item in items] == [3, 1, 2, 4, 1, 4, 3, 1]
    together = collate(items)
    masked = {name: tensor for name, tensor in together.items() if name.startswith("masked_")}
    assert bool(masked) == ("masked_lm" in groups)
    separate = collate(apart(items)) | masked
    assert together["labels"].shape[:2] == (8, 4)
    assert (len(together["patch_images"]), len(separate["patch_images"])) == (2, 19)
    whole = gradients(trainer, [together])
    assert_equal(whole, gradients(trainer, [separate]))
    if "drop_worst" not in groups.get("train", {}):  # which is of a micro-batch
        halves = [collate(items[:3]), collate(items[3:])]
        if not masked:
            assert_equal(whole, gradients(trainer, halves))
        assert_equal(whole, gradients(trainer, split_batch(together, 3)))
        assert_equal(whole, gradients(trainer, split_batch(together, 1)))


def test_one_caption_per_row_is_the_batch_of_always(document, load):
    document["train"]["captions_per_row"] = 1
    items = make(document, load).train_dataset.__getitems__([0, 3])
    assert all("caption_labels" not in item for item in items)
    assert CaptionCollator(1)(items)["labels"].ndim == 2


def test_targets_of_uneven_rows_by_hand():
    labels = torch.tensor([[[5, 2], [2, -100]], [[6, 2], [-100, -100]], [[7, 2], [8, 2]]])
    found = targets_of({"labels": labels, "rows": torch.tensor([40, 41, 42])})
    assert found.labels.tolist() == [[5, 2], [2, -100], [6, 2], [7, 2], [8, 2]]
    assert found.rows.tolist() == [40, 40, 41, 42, 42]
    assert found.caption_rows.tolist() == [0, 0, 1, 2, 2]
    even = targets_of({"labels": labels[[0, 2]], "rows": torch.tensor([40, 42])})
    assert even.caption_rows is None
    assert even.rows.tolist() == [40, 40, 42, 42]


def test_run_passes_every_row_once_counts_captions_and_validates_as_always(document, load, caplog, monkeypatch):
    document["train"] |= {"epochs": 1, "batch_size": 4}
    with caplog.at_level(logging.INFO):
        trainer = make(document, load)
    assert "an epoch has 8 rows and 19 captions, an optimizer step 4 rows and 9.5 captions" in caplog.text
    passed, encode = [], type(trainer.captioner).encode

    def count(self, batch):
        if torch.is_grad_enabled():
            passed.append(len(batch["input_ids"]))
        return encode(self, batch)

    monkeypatch.setattr(type(trainer.captioner), "encode", count)
    trainer.train()
    assert passed == [4, 4]
    logged = [row["captions_per_row"] for row in trainer.state.log_history if "captions_per_row" in row]
    assert sum(logged) / len(logged) == pytest.approx(19 / 8)
    loss = trainer._validation_loss()
    trainer.eval_dataset.captions_per_row = 1
    assert trainer._validation_loss() == loss


@pytest.mark.slow
def test_two_ranks_with_different_numbers_of_captions_make_the_step_of_one(
    document, tmp_path, one_step, two_ranks, assert_same
):
    def write(name, **train):
        path = tmp_path / f"{name}.json"
        changed = {"train": document["train"] | train, "work_dir": str(tmp_path / name)}
        path.write_text(json.dumps(document | changed))
        return path

    whole = one_step(write("whole"))
    ranks = two_ranks(write("ranks", batch_size=4))
    assert_same(whole["gradients"], ranks[0]["gradients"])
    assert_same(whole["change"], ranks[1]["change"])


def test_rows_with_one_caption_are_told(document, load, scenes, caplog):
    document["data"]["annotations"] = str(scenes)
    for line in (rows := [row for _, row in read_jsonl(scenes / "train.jsonl")]):
        line["captions"] = line["captions"][:1]
    folder = load(document).work_dir.parent / "single"
    folder.mkdir()
    for name in ("train", "val"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    document["data"]["annotations"] = str(folder)
    make(document, load)
    assert "train.captions_per_row=4: no training row has more than one caption" in caplog.text


def test_cross_entropy_beside_rewards_takes_all_captions(document, load, start_model):
    document |= {"model": {"name": str(start_model)}}
    document["scst"] = {"enabled": True, "num_samples": 2, "cross_entropy_weight": 0.5}
    trainer = make(document, load)
    items = trainer.train_dataset.__getitems__([*range(8)])
    captioner = trainer.captioner.through(trainer.model.double().eval())
    found = []
    for batch in (trainer.data_collator(items), trainer.data_collator(apart(items))):
        batch = on_device(trainer, batch)
        found.append(trainer.cross_entropy(captioner, captioner.encode(batch), batch)[0].item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_rows_that_fit_are_tried_with_those_of_most_tokens(document, load):
    from trainers import probing

    trainer = make(document, load)
    batch = probing._longest_batch(trainer, 1)
    data = trainer.train_dataset
    most = max(range(8), key=lambda row: data.caption_tokens(0, row))
    assert batch["rows"].tolist() == [most]
    assert int(batch["labels"].ne(-100).sum()) == data.caption_tokens(0, most)
