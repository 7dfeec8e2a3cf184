"""What is minimised, and the parts of a batch and of a step that the terms of the loss refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from preprocessors.collator import IGNORE_INDEX

MASKED = "masked_"


class ForeignTokens(NamedTuple):
    """The tokens that are typical of other styles.

    Attributes:
        by_style: bool (S, V).
        row_styles: Style of each training row, int64 (rows,).
    """

    by_style: Tensor
    row_styles: Tensor

    def of(self, rows: Tensor) -> Tensor:
        """True at the tokens that rows (B,) should not use, bool (B, V) on the device of the rows."""
        return self.by_style[self.row_styles[rows.cpu()]].to(rows.device)


@dataclass(frozen=True)
class Objective:
    """What is minimised when people's captions are learnt.

    Attributes:
        label_smoothing: eps of OFA's smoothing, in [0, 1).
        drop_worst: Share of the tokens of a micro-batch to leave out, in [0, 1).
        rdrop: Weight of R-Drop's KL per token; 0 is off, anything else doubles the batch.
        masked_lm: Weight of the masked-LM loss at the first step; counts where batches hold the task.
        masked_lm_end: Its weight at the last step, linear between.
        weights: Of the terms beside cross-entropy that are on, by their names in ``losses.table.LOSS_TERMS``.
        foreign: The tokens of other styles; needed where a term looks at them.
    """

    label_smoothing: float = 0.1
    drop_worst: float = 0.0
    rdrop: float = 0.0
    masked_lm: float = 0.0
    masked_lm_end: float = 0.0
    weights: Mapping[str, float] = field(default_factory=dict)
    foreign: ForeignTokens | None = None


class StepTokens(NamedTuple):
    """What the losses of a whole optimizer step count, over all micro-batches and processes: tokens, and pairs."""

    captions: Any
    masked: Any
    pairs: Any = 0


class Targets(NamedTuple):
    """The captions that a micro-batch of B rows learns.

    Attributes:
        labels: int64 (N, T), those of a row next to each other.
        rows: Their rows in the data set, int64 (N,).
        caption_rows: The micro-batch's row of each, int64 (N,); None where all rows have N / B.
    """

    labels: Tensor
    rows: Tensor
    caption_rows: Tensor | None = None


def targets_of(batch: Mapping[str, Tensor]) -> Targets:
    """The captions of a micro-batch whose rows have one each, or up to K."""
    labels, rows = batch["labels"], batch["rows"]
    if labels.ndim == 2:
        return Targets(labels, rows)
    given = labels[..., 0].ne(IGNORE_INDEX)  # (B, K): a caption has EOS at least
    caption_rows = given.nonzero()[:, 0]
    uneven = len(caption_rows) < given.numel()
    return Targets(labels[given], rows[caption_rows], caption_rows if uneven else None)


def split_tasks(batch: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Captioning and masked-LM parts of a batch, each under the model's own names; the second may be empty."""
    captions = {name: tensor for name, tensor in batch.items() if not name.startswith(MASKED)}
    masked = {name.removeprefix(MASKED): tensor for name, tensor in batch.items() if name.startswith(MASKED)}
    return captions, masked


def two_views(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every row twice, the second time behind all the others; a picture passes the vision network once for both."""
    rows = batch["rows"]
    shown = batch.get("picture_rows", torch.arange(len(rows), device=rows.device))
    pictures = {name: batch[name] for name in ("patch_images", "image_features") if name in batch}
    doubled = {name: torch.cat([tensor, tensor]) for name, tensor in (batch | {"picture_rows": shown}).items()}
    return doubled | pictures
