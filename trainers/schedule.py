"""Learning-rate schedule and the order of training rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Sampler

from runs.checkpoints import ENDLESS


def polynomial_factor(step: int, total_steps: int, warmup_steps: int, end_ratio: float) -> float:
    """Factor of the peak learning rate at a step: linear rise, then linear decay to ``end_ratio``.

    Args:
        step: Optimizer steps done, from 0.
        total_steps: Steps of the whole run.
        warmup_steps: Steps of the rise; the peak is reached after the last of them.
        end_ratio: Final over peak learning rate; reached at ``total_steps`` and kept.

    Returns:
        Factor, non-negative.

    Source:
        OFA's ``polynomial_decay`` scheduler with power 1.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    return 1.0 + (end_ratio - 1.0) * done


def cosine_factor(step: int, total_steps: int, warmup_steps: int, end_ratio: float, num_cycles: int) -> float:
    """Factor of the peak learning rate at a step: linear rise, then half cosines down to ``end_ratio``.

    Args:
        step: As for :func:`polynomial_factor`, like the next three.
        total_steps: Steps of the whole run.
        warmup_steps: Steps of the rise.
        end_ratio: Final over peak learning rate.
        num_cycles: Half cosines of one length, each from the peak, at least 1.

    Source:
        Loshchilov and Hutter 2017, arXiv:1608.03983.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    done = min((step - warmup_steps) / max(total_steps - warmup_steps, 1), 1.0)
    within = 1.0 if done == 1.0 else done * num_cycles % 1.0
    return end_ratio + (1.0 - end_ratio) * (1.0 + math.cos(math.pi * within)) / 2


def polynomial_decay(
    optimizer: Optimizer, total_steps: int, warmup: float, lr: float, lr_end: float, num_cycles: int | None = None
) -> LambdaLR:
    """Scheduler over :func:`polynomial_factor`, or :func:`cosine_factor`.

    Args:
        optimizer: With peak learning rate ``lr`` in every group.
        total_steps: Optimizer steps of the run.
        warmup: Share of the steps for the rise, in [0, 1).
        lr: Peak learning rate.
        lr_end: Learning rate at the end.
        num_cycles: Half cosines; None falls linearly.
    """
    warmup_steps = round(warmup * total_steps)
    if num_cycles is None:
        return LambdaLR(optimizer, lambda step: polynomial_factor(step, total_steps, warmup_steps, lr_end / lr))
    return LambdaLR(optimizer, lambda step: cosine_factor(step, total_steps, warmup_steps, lr_end / lr, num_cycles))


def rise_and_stay(optimizer: Optimizer, warmup_steps: int) -> LambdaLR:
    """Scheduler of a training without an end: the linear rise, then the peak."""
    return LambdaLR(optimizer, lambda step: polynomial_factor(step, ENDLESS, warmup_steps, 1.0))


def give_own_rate(optimizer: Optimizer, parameters: Sequence[nn.Parameter], lr: float) -> None:
    """Move parameters into groups with another peak learning rate, in place; before the first step.

    Args:
        optimizer: Has all of them.
        parameters: To move.
        lr: Theirs; a scheduler made afterwards multiplies every group's own by its factor.
    """
    moved = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        own = [parameter for parameter in group["params"] if id(parameter) in moved]
        if own:
            group["params"] = [parameter for parameter in group["params"] if id(parameter) not in moved]
            optimizer.add_param_group({**group, "params": own, "lr": lr})


@dataclass(frozen=True)
class SimilarLengths:
    """Batches of rows that are about as long, so that little of a batch is padding.

    Attributes:
        length_of: Length of a row in an epoch, from 0.
        batch_size: Rows of a batch.
        batches: Rows are sorted within so many shuffled batches, then these batches are shuffled.
    """

    length_of: Callable[[int, int], int]
    batch_size: int
    batches: int = 50

    def arrange(self, groups: Sequence[Sequence[int]], epoch: int, generator: torch.Generator) -> list[int]:
        """The rows in batches; those that do not fill one are the last, and stay so.

        Args:
            groups: Rows that stay together, as long as the longest of them; shuffled.
            epoch: From 0.
            generator: Draws the order of the batches.
        """
        rows = [row for group in groups for row in group]
        lengths: dict[int, int] = {}
        for group in groups:
            lengths |= dict.fromkeys(group, max(self.length_of(epoch, row) for row in group))
        whole = len(rows) // self.batch_size * self.batch_size
        window = self.batches * self.batch_size
        ordered: list[int] = []
        for start in range(0, whole, window):
            part = rows[start : min(start + window, whole)]
            ordered += sorted(part, key=lengths.__getitem__)  # stable: a group is not torn apart
        order = torch.randperm(whole // self.batch_size, generator=generator).tolist()
        places = (range(batch * self.batch_size, (batch + 1) * self.batch_size) for batch in order)
        return [*(ordered[place] for batch in places for place in batch), *rows[whole:]]


class InOrder(Sampler[int]):
    """The rows as they stand, for data that has an order of its own.

    Args:
        data: What is sampled from.
    """

    def __init__(self, data: Sized) -> None:
        self.data = data

    def set_epoch(self, epoch: int) -> None:
        """Every epoch is alike here; the data knows which one it is."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.data)

    def __iter__(self) -> Iterator[int]:
        """Row numbers from 0."""
        return iter(range(len(self.data)))


class EpochSampler(Sampler[int]):
    """Random order of the rows that depends on (seed, epoch) alone, so that a resumed run sees the same one.

    Args:
        data: What is sampled from.
        seed: Of the run.
        row_groups: All rows, parted into groups that follow one another in random order, each as it stands; None
            shuffles row by row.
        lengths: Puts rows, or groups, of one length into a batch; None leaves the order as it was drawn.
    """

    def __init__(
        self,
        data: Sized,
        seed: int,
        row_groups: Sequence[Sequence[int]] | None = None,
        lengths: SimilarLengths | None = None,
    ) -> None:
        self.data, self.seed, self.row_groups, self.epoch = data, seed, row_groups, 0
        self.lengths = lengths

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, of the next iteration."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.data)

    def __iter__(self) -> Iterator[int]:
        """Row numbers, each once."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        groups = [[row] for row in range(len(self.data))] if self.row_groups is None else self.row_groups
        order = torch.randperm(len(groups), generator=generator).tolist()
        shuffled = [groups[place] for place in order]
        if self.lengths is not None:
            return iter(self.lengths.arrange(shuffled, self.epoch, generator))
        return iter([row for group in shuffled for row in group])
