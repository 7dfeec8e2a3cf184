"""The loss of validation rows, shared out among processes and added up as in one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from preprocessors.workers import worker_init
from trainers import processes
from trainers.base import BaseTrainer
from trainers.processes import agree
from trainers.progress import on_terminal
from utils.memory import Halving
from utils.signals import StopRequested, stop_requested

RowLosses = Callable[[dict[str, Tensor], Sequence[int]], list[Tensor]]
"""Of a batch on the device and some of its rows that follow one another: for each the sums of loss, nll and tokens, of
shape (3,)."""


@torch.no_grad()
def mean_losses(trainer: BaseTrainer, pieces: Halving, row_losses: RowLosses) -> dict[str, float]:
    """``loss`` and ``nll`` in nats per token over the validation rows; all processes together.

    Args:
        trainer: Whose rows they are.
        pieces: How many of them are looked at together.
        row_losses: Looks at them.

    Raises:
        StopRequested: If a signal came.
    """
    # A place for every row: what the processes have adds up to the same numbers in the same order as in one alone.
    losses = torch.zeros(len(trainer.eval_dataset), 3, dtype=torch.float64, device=trainer.args.device)
    with tqdm(validation_batches(trainer), "validation", unit="batch", disable=not on_terminal(), leave=False) as shown:
        for batch in shown:
            if stop_requested():  # told to the others below, where they wait
                break
            inputs = trainer._prepare_inputs(batch)
            every = range(len(inputs["rows"]))
            rows = pieces.in_pieces(every, lambda part: row_losses(inputs, part))  # noqa: B023
            losses[inputs["rows"]] = torch.stack(rows).double()
    if agree(stop_requested()):
        raise StopRequested
    loss, nll, tokens = trainer.sum_over_processes(losses).sum(0).tolist()
    return {"loss": loss / max(tokens, 1.0), "nll": nll / max(tokens, 1.0)}


def validation_batches(trainer: BaseTrainer) -> DataLoader[Any]:
    """This process's share of the batches; a Trainer's own loader would fill the last ones up with other rows."""
    args, rows = trainer.args, range(len(trainer.eval_dataset))
    size = args.per_device_eval_batch_size
    batches = [[*rows[start : start + size]] for start in range(0, len(rows), size)]
    return DataLoader(
        trainer.eval_dataset,
        batch_sampler=batches[args.process_index :: args.world_size],
        collate_fn=trainer.data_collator,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        timeout=processes.WORKER_PATIENCE if args.dataloader_num_workers else 0,
        prefetch_factor=args.dataloader_prefetch_factor,
        worker_init_fn=worker_init(),
    )
