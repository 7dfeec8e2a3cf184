"""Training steps outside the loop, for benchmarks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch


def endless(trainer: Any) -> Iterator[Any]:
    """Batches, epoch after epoch."""
    while True:
        yield from trainer.get_train_dataloader()


def step(trainer: Any, batch: Any) -> None:
    """A step as the loop does it, without its callbacks."""
    trainer.begin_step()
    tokens = trainer._get_num_items_in_batch([batch], trainer.args.device)
    trainer.training_step(trainer.model, trainer._prepare_inputs(dict(batch)), tokens)
    torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
