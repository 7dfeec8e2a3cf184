"""A batch in pieces whose losses add up to the batch's, and what a step must find again when it is done once more."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PICTURES = ("patch_images", "image_features")
"""Entries of a batch with one row for each distinct picture."""


def split_batch(batch: Mapping[str, Tensor], rows: int | None) -> list[dict[str, Tensor]]:
    """A batch of :class:`preprocessors.collator.CaptionCollator` in pieces of at most ``rows`` rows.

    Every row keeps its columns, padding included, so that what a model makes of it stays what it was, and its masked
    caption. A picture that rows of two pieces share is in both.

    Args:
        batch: B rows; the pictures may be fewer.
        rows: Of a piece, at least 1; None leaves the batch whole.

    Returns:
        Pieces in the order of the rows, views of the batch where no picture is shared.
    """
    count = len(batch["rows"])
    if rows is None or rows >= count:
        return [dict(batch)]
    return [take_rows(batch, start, min(start + rows, count)) for start in range(0, count, rows)]


def take_rows(batch: Mapping[str, Tensor], first: int, end: int) -> dict[str, Tensor]:
    """The rows from ``first`` up to ``end`` of a batch, with the pictures that they show."""
    if first == 0 and end == len(batch["rows"]):
        return dict(batch)
    piece = {name: tensor[first:end] for name, tensor in batch.items()}
    if "picture_rows" not in batch:
        return piece
    shown, places = torch.unique(piece["picture_rows"], return_inverse=True)
    for name in PICTURES:
        if name in batch:
            piece[name] = batch[name][shown]
    if len(shown) == end - first:  # no two rows share one: as the collator would have it, each beside its row
        del piece["picture_rows"]
        for name in PICTURES:
            if name in batch:
                piece[name] = piece[name][places]
    else:
        piece["picture_rows"] = places
    return piece


class StepStart:
    """What an optimizer step changes before its update: states of random numbers, statistics of batch norms.

    Args:
        module: In training.
    """

    def __init__(self, module: nn.Module) -> None:
        self._buffers = [
            buffer
            for name, buffer in module.named_buffers()
            if name.endswith(("running_mean", "running_var", "num_batches_tracked"))
        ]
        self._copies = [buffer.clone() for buffer in self._buffers]
        self._random: tuple[Any, ...] = ()
        self.keep()

    @torch.no_grad()
    def keep(self) -> None:
        """Remember how it is now."""
        self._random = random.getstate(), np.random.get_state(), torch.get_rng_state()
        if self._buffers:
            torch._foreach_copy_(self._copies, self._buffers)

    @torch.no_grad()
    def restore(self) -> None:
        """Put back what :meth:`keep` saw; the generators of a GPU are seeded for every micro-batch anyway."""
        own, numpys, torchs = self._random
        random.setstate(own)
        np.random.set_state(numpys)
        torch.set_rng_state(torchs)
        self.restore_statistics()

    @torch.no_grad()
    def restore_statistics(self) -> None:
        """Put back the batch norms alone."""
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._copies)
