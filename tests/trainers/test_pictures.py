"""What becomes of pictures between the files and the model: uint8 from the loader, normalised by the trainer."""

import ctypes
import signal
import sys

import pytest
import torch

from pipeline.prepare import prepare
from pipeline.training import build_trainer, training_arguments
from preprocessors.dataset import CaptionDataset
from preprocessors.pictures.images import load_image
from trainers.row_losses import validation_batches


def _trainer(document, load, **train):
    config = load(document | {"train": document["train"] | train})
    arguments = training_arguments(config)
    prepared = prepare(config)
    return build_trainer(arguments, prepared), prepared.writer.preprocessor.image_transform


def test_loader_ships_uint8_and_the_trainer_makes_the_floats_of_the_transform(tiny_document, load):
    trainer, transform = _trainer(tiny_document, load)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["patch_images"].dtype == torch.uint8
    assert batch["patch_images"].is_contiguous(memory_format=torch.channels_last)
    prepared = trainer._prepare_inputs(batch)
    expected = [transform(load_image(trainer.train_dataset.examples[row].image_path)) for row in batch["rows"]]
    shown = prepared["patch_images"]
    if "picture_rows" in prepared:
        shown = shown[prepared["picture_rows"]]
    assert torch.equal(shown, torch.stack(expected))
    assert torch.equal(trainer._prepare_inputs(prepared)["patch_images"], prepared["patch_images"])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere PyTorch's own watch ends workers")
def test_workers_of_training_and_validation_end_with_their_process(tiny_document, load, monkeypatch):
    trainer, _ = _trainer(tiny_document, load, num_workers=1)
    usual = CaptionDataset.__getitems__

    def with_signal(self, rows):
        number = ctypes.c_int()
        ctypes.CDLL(None).prctl(2, ctypes.byref(number))  # PR_GET_PDEATHSIG
        return [item | {"input_ids": [number.value]} for item in usual(self, rows)]

    monkeypatch.setattr(CaptionDataset, "__getitems__", with_signal)
    for loader in (trainer.get_train_dataloader(), validation_batches(trainer)):
        assert next(iter(loader))["input_ids"].unique().tolist() == [signal.SIGKILL]


@pytest.mark.parametrize("train", [{}, {"drop_worst": 0.5}, {"rdrop": 0.5}])
def test_step_whose_rows_all_lack_a_word_is_nothing_and_no_bad_number(tiny_document, load, train):
    """As where a stream skips pictures: the rows stay in the batch."""
    trainer, _ = _trainer(tiny_document, load, **train)
    batch = trainer.data_collator(trainer.train_dataset.__getitems__([0, 1]))
    batch["labels"].fill_(-100)
    tokens = torch.tensor([*trainer.count_tokens([batch])])
    assert tokens.tolist() == [0, 0, 0]
    loss = trainer.step_loss(trainer.model, trainer._prepare_inputs(batch), tokens)
    loss.backward()
    assert loss.item() == 0.0
    # None is left out either: processes wait for one another's.
    assert all(p.grad.eq(0).all() for p in trainer.model.parameters() if p.requires_grad)
