"""Finds how many rows fit into memory at once, before training starts and without a trace."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainers.fitting import BACKWARD, SHARE, describe, free_bytes, kept_bytes, largest_that_fits, longest_rows, moments
from trainers.memory import ADVICE
from trainers.pieces import split_batch
from trainers.processes import gather, is_first
from utils.errors import OutOfMemory
from utils.memory import free

logger = logging.getLogger(__name__)


def find_rows(trainer: Any, model: nn.Module) -> int:
    """The largest number of rows, of those that a process has in a step, whose forward and backward pass fit.

    They are tried with the rows that have most tokens, beside the moments of the optimizer. Weights, gradients, random
    numbers and what was logged stay as they were. On a CPU, where nothing says that memory is used up, the rows follow
    from what one of them keeps for its backward pass, within half of the free memory.

    Raises:
        OutOfMemory: If one row does not fit.
    """
    wanted = trainer.args.per_device_train_batch_size
    trainer.current_gradient_accumulation_steps = 1
    trainer.begin_step()
    batch = _longest_batch(trainer, wanted)
    if trainer.args.device.type == "cpu":
        rows = min(gather(_rows_on_cpu(trainer, model, batch, wanted)))
    else:
        rows = _rows_by_trying(trainer, model, batch, wanted)
    if rows < 1:
        raise OutOfMemory(f"train.batch_size=auto: one row alone does not fit into memory. {ADVICE}")
    if is_first():
        trainer.pieces.fitting.remember(rows)
        logger.info("train.batch_size=auto: %s", describe(rows, wanted))
    return rows


def _longest_batch(trainer: Any, wanted: int) -> dict[str, Tensor]:
    data, length_of = trainer.train_dataset, getattr(trainer.train_dataset, "caption_tokens", lambda epoch, row: 0)
    batch = trainer.data_collator([data[row] for row in longest_rows(length_of, len(data), wanted)])
    prepared: dict[str, Tensor] = trainer._prepare_inputs(dict(batch))
    return prepared


def _rows_by_trying(trainer: Any, model: nn.Module, batch: Mapping[str, Tensor], wanted: int) -> int:
    # Held meanwhile, because the optimizer has none before its first step.
    held = [] if trainer.optimizer.state else moments([*model.parameters()])

    def fits(rows: int) -> bool:
        piece = split_batch(batch, rows)[0]
        reason = trainer.pieces.attempt(model, piece, _tokens(trainer, piece), (0, 0, 1), adds_up=False)
        trainer.forget_attempt()
        free()
        return reason is None

    found = largest_that_fits(wanted, fits)
    del held
    return found


def _rows_on_cpu(trainer: Any, model: nn.Module, batch: Mapping[str, Tensor], wanted: int) -> int:
    piece = split_batch(batch, 1)[0]
    tokens = _tokens(trainer, piece)

    def forward() -> Tensor:
        model.train()
        trainer.seed_piece(0, 0, 1)
        trainer._micro_step = 1
        with trainer.compute_loss_context_manager():
            return trainer.compute_loss(model, piece, tokens)

    with trainer.accelerator.no_sync(model=model):
        one = kept_bytes(model, forward)
    trainer.forget_attempt()
    left = free_bytes() / max(len(gather(None)), 1) - sum(8 * p.numel() for p in model.parameters() if p.requires_grad)
    return min(int(max(left, 0) * SHARE / (BACKWARD * max(one, 1))), wanted)


def _tokens(trainer: Any, piece: dict[str, Tensor]) -> Tensor:
    return torch.tensor([*trainer.count_tokens([piece])], device=trainer.args.device)
