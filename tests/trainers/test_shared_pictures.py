"""Rows of one picture in a batch: one pass through the vision network, the same loss and gradients as without."""

from __future__ import annotations

import json

import pytest
import torch

from pipeline.prepare import prepare
from pipeline.training import build_trainer, training_arguments
from preprocessors.collator import CaptionCollator
from trainers.objective import two_views

SAME_DRAWS = {"freeze": ["batch_norm"], "warmup": 0.0, "lr": 0.5, "batch_size": 8, "group_pictures": True}


@pytest.fixture
def pictures_passed(monkeypatch):
    """Numbers of pictures that pass the vision network in training, a number for each pass."""
    from models.ofa.resnet import ResNet

    passed, forward = [], ResNet.forward

    def count(self, patch_images):
        if torch.is_grad_enabled():
            passed.append(len(patch_images))
        return forward(self, patch_images)

    monkeypatch.setattr(ResNet, "forward", count)
    return passed


@pytest.fixture
def unshared(monkeypatch):
    """Switches the sharing off: every row gets pixels of its own."""
    collate = CaptionCollator.__call__

    def clone_first(self, encoded):
        name = "image_features" if "image_features" in encoded[0] else "patch_image"
        return collate(self, [item | {name: item[name].clone()} for item in encoded])

    return lambda: monkeypatch.setattr(CaptionCollator, "__call__", clone_first)


def _write(document, tmp_path, name, **train):
    overrides = document["model"]["overrides"] | {"dropout": 0.0}
    changed = document | {"model": document["model"] | {"overrides": overrides}}
    changed |= {"train": document["train"] | SAME_DRAWS | train, "work_dir": str(tmp_path / name)}
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(changed))
    return path


@pytest.mark.parametrize(
    "train",
    [
        {"rdrop": 0.5},
        *(pytest.param(item, marks=pytest.mark.slow) for item in ({}, {"freeze": ["resnet", "batch_norm"]})),
    ],
)
def test_grouped_rows_give_the_step_of_rows_with_pictures_of_their_own(
    tiny_document, tmp_path, one_step, assert_same, pictures_passed, unshared, train
):
    """Two pictures in four styles make the batch; with the vision network frozen they come as kept features."""
    shared = one_step(_write(tiny_document, tmp_path, "shared", **train))
    assert pictures_passed == ([] if "freeze" in train else [2])
    unshared()
    apart = one_step(_write(tiny_document, tmp_path, "apart", **train))
    assert pictures_passed == ([] if "freeze" in train else [2, 8])  # R-Drop's two views share a pass
    assert_same(shared["gradients"], apart["gradients"])
    assert_same(shared["change"], apart["change"])


@pytest.mark.parametrize("shared", [{}, {"picture_rows": torch.tensor([1, 0, 1])}])
def test_two_views_show_every_row_its_picture_twice(shared):
    pictures = torch.arange(3.0)[:, None] if not shared else torch.tensor([[1.0], [0.0]])
    batch = {"rows": torch.tensor([7, 8, 9]), "patch_images": pictures, **shared}
    views = two_views(batch)
    assert views["rows"].tolist() == [7, 8, 9, 7, 8, 9]
    assert views["patch_images"] is pictures
    shown = pictures[shared.get("picture_rows", torch.arange(3))].flatten().tolist()
    assert views["patch_images"][views["picture_rows"]].flatten().tolist() == shown * 2


@pytest.mark.slow
def test_grouped_rows_are_dealt_to_two_ranks_as_to_one_and_accumulated_alike(
    tiny_document, tmp_path, one_step, two_ranks, assert_same
):
    whole = one_step(_write(tiny_document, tmp_path, "whole"))
    accumulated = one_step(_write(tiny_document, tmp_path, "parts", batch_size=4, accumulation_steps=2))
    assert_same(whole["gradients"], accumulated["gradients"])
    ranks = two_ranks(_write(tiny_document, tmp_path, "ranks", batch_size=4))
    assert_same(whole["gradients"], ranks[0]["gradients"])
    assert_same(whole["change"], ranks[1]["change"])


def test_an_epoch_of_grouped_rows_passes_every_picture_once(tiny_document, load, pictures_passed):
    tiny_document["train"] |= {"group_pictures": True, "epochs": 1}
    config = load(tiny_document)
    args = training_arguments(config)
    args.report_to, args.eval_strategy, args.save_strategy, args.load_best_model_at_end = [], "no", "no", False
    trainer = build_trainer(args, prepare(config))
    seen: list[int] = []
    step_loss = trainer.step_loss
    trainer.step_loss = lambda model, batch, tokens: (
        seen.extend(batch["rows"].tolist()) or step_loss(model, batch, tokens)
    )
    trainer.train()
    assert sorted(seen) == list(range(len(trainer.train_dataset)))
    assert pictures_passed == [2] * 6  # 12 pictures in four styles, batches of 8 rows
