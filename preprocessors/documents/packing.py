"""Whole documents side by side in rows without padding, none of which sees another that it is not to see."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from preprocessors.collator import IGNORE_INDEX
from preprocessors.documents.links import Walk
from preprocessors.documents.rows import Plan, fit_rows
from preprocessors.documents.token_bins import TokenBins
from preprocessors.documents.windows import Numbers, cut_windows, ids_of

PADDING = -1
"""``document_ids`` where there is no document."""


class PackedBatch(NamedTuple):
    """Rows of documents as a model takes them."""

    token_ids: Tensor
    """int64 (B, L); BOS where there is no document."""
    position_ids: Tensor
    """int64 (B, L), of each token in its document."""
    document_ids: Tensor
    """int64 (B, L), 0 to D - 1 in each row, and -1 where there is no document."""
    targets: Tensor
    """int64 (B, L): the next token, and -100 where it is not to be learnt: control codes, what is repeated of a window
    before, documents that are there only because another one links to them, and behind a document's end."""
    ancestors: Tensor | None
    """bool (B, D, D): whether the document of a row sees that of a column, itself included; None where each sees
    itself alone."""


def mask(document_ids: Tensor, ancestors: Tensor | None = None) -> Tensor:
    """The one rule of attention: a token sees those before it, and itself, in the documents that its own one sees.

    Args:
        document_ids: int64 (B, L), as in :class:`PackedBatch`.
        ancestors: bool (B, D, D), likewise.

    Returns:
        bool (B, 1, L, L), True where the token of a row sees that of a column. Tokens of no document see one another,
        so that no row of the mask is empty, of which softmax would make NaN.
    """
    length = document_ids.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=document_ids.device).tril()
    asking, asked = document_ids[:, :, None], document_ids[:, None, :]  # (B, L, 1), (B, 1, L)
    if ancestors is None:
        return (causal & (asking == asked))[:, None]
    rows = torch.arange(len(document_ids), device=document_ids.device)[:, None, None]
    linked = ancestors[rows, asking.clamp(min=0), asked.clamp(min=0)]
    both = (asking >= 0) & (asked >= 0)
    return (causal & torch.where(both, linked, asking == asked))[:, None]


class Packer:
    """Rows of documents; which ones stand together depends on (seed, epoch) alone, so any row can be made again.

    Args:
        bins: The documents.
        context: Most ids of a row.
        bos: Id that begins a document.
        eos: Id that ends one.
        overlap: Ids that a window repeats of the one before it in a document that is longer than a row.
        ignore_meta: Probability that a document is read without its control code in an epoch of training.
        linked: Whether documents are read behind those that they link to.
        link_tokens: Ids that the documents before one may have together; None has as many as fit into a row.
        seed: Of orders and of what is read without code.

    Raises:
        ValueError: If there are to be links and there are none, or the context is too short.
    """

    def __init__(
        self,
        bins: TokenBins,
        context: int,
        *,
        bos: int,
        eos: int,
        overlap: int = 0,
        ignore_meta: float = 0.0,
        linked: bool = False,
        link_tokens: int | None = None,
        seed: int = 0,
    ) -> None:
        if linked and bins.links is None:
            raise ValueError(f"{bins.folder}: no document has a title, so none can link to another")
        self.bins, self.context, self.bos, self.eos = bins, context, bos, eos
        self.ignore_meta, self.linked, self.seed = ignore_meta, linked, seed
        self.link_tokens = context if link_tokens is None else link_tokens
        self.windows = cut_windows(bins, context, overlap)
        self._bodies = bins.body_lengths()
        whole = self.windows.lengths(self._bodies)
        is_cut = np.bincount(self.windows.document, minlength=len(bins)) > 1
        self._whole, self._linkable = whole, np.where(is_cut, context + 1, whole[self.windows.first])
        self._walk = lru_cache(maxsize=1 << 16)(self._find_walk)
        self._before = np.zeros(len(self.windows), np.int64)
        if linked:
            self._before[:] = [self._size_before(window) for window in range(len(self.windows))]

    def plan(self, epoch: int | None) -> Plan:
        """The rows of an epoch of training; None is for validation: no draws, always the same."""
        generator = np.random.default_rng([self.seed, 0 if epoch is None else epoch + 1])
        number = len(self.windows)
        dropped = np.zeros(number, dtype=bool)
        if epoch is not None and self.ignore_meta:
            dropped = generator.random(number) < self.ignore_meta
        sizes = self.windows.lengths(self._bodies, dropped) + self._before
        order = generator.permutation(number) if epoch is not None else np.arange(number)
        rows = fit_rows(order, sizes, self.context)
        if epoch is not None:  # rows that were filled late would all stand at the end
            rows = [rows[row] for row in generator.permutation(len(rows))]
        ends = np.cumsum([len(row) for row in rows])
        return Plan(np.concatenate([np.array(row) for row in rows]), ends, dropped)

    def batch(self, plan: Plan, rows: Sequence[int]) -> PackedBatch:
        """Some rows of a plan, as long as the longest of them."""
        return side_by_side([self._row(plan, row) for row in rows], self.bos)

    def _row(self, plan: Plan, row: int) -> PackedBatch:
        blocks: list[_Block] = []
        groups: list[NDArray[np.bool_]] = []
        for window in plan.row(row):
            walk = self._walk(window)
            before = [int(self.windows.first[document]) for document in walk.documents[:-1]]
            blocks += [self._block(other, with_code=True, is_learnt=False) for other in before]
            blocks.append(self._block(window, with_code=not plan.without_code[window], is_learnt=True))
            groups.append(walk.sees)
        sees = np.zeros((len(blocks), len(blocks)), dtype=bool)
        start = 0
        for group in groups:
            sees[start : start + len(group), start : start + len(group)] = group
            start += len(group)
        lengths = [len(block.token_ids) for block in blocks]
        return PackedBatch(
            _as_row(np.concatenate([block.token_ids for block in blocks])),
            _as_row(np.concatenate([np.arange(length) for length in lengths])),
            _as_row(np.repeat(np.arange(len(blocks)), lengths)),
            _as_row(np.concatenate([block.targets for block in blocks])),
            _as_row(sees) if self.linked else None,
        )

    def _block(self, window: int, *, with_code: bool, is_learnt: bool) -> _Block:
        ids, read = ids_of(self.bins, self.windows, window, (self.bos, self.eos), with_code=with_code)
        targets = np.full(len(ids), IGNORE_INDEX, np.int64)
        if is_learnt:
            targets[read - 1 : -1] = ids[read:]
        return _Block(ids, targets)

    def _find_walk(self, window: int) -> Walk:
        """The documents that are read with a window, and itself."""
        document = int(self.windows.document[window])
        if not self.linked or self.bins.links is None:
            return Walk([document], np.ones((1, 1), dtype=bool))
        budget = min(self.link_tokens, self.context - int(self._whole[window]))
        return self.bins.links.walk(document, self._linkable, budget)

    def _size_before(self, window: int) -> int:
        return int(self._linkable[self._walk(window).documents[:-1]].sum())


class _Block(NamedTuple):
    """A window in a row."""

    token_ids: Numbers
    targets: Numbers


def _as_row(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(values)[None]


def side_by_side(batches: Sequence[PackedBatch], bos: int) -> PackedBatch:
    """The rows of several batches as one, filled up to the longest.

    Args:
        batches: All with ancestors, or none.
        bos: Id that stands where there is no document.
    """
    length = max(batch.token_ids.shape[1] for batch in batches)

    def joined(name: str, value: int) -> Tensor:
        parts: list[Tensor] = [getattr(batch, name) for batch in batches]
        return torch.cat([F.pad(part, (0, length - part.shape[1]), value=value) for part in parts])

    sees = [batch.ancestors for batch in batches if batch.ancestors is not None]
    most = max((part.shape[1] for part in sees), default=0)
    gaps = [most - part.shape[1] for part in sees]
    return PackedBatch(
        joined("token_ids", bos),
        joined("position_ids", 0),
        joined("document_ids", PADDING),
        joined("targets", IGNORE_INDEX),
        torch.cat([F.pad(part, (0, gap, 0, gap)) for part, gap in zip(sees, gaps, strict=True)]) if sees else None,
    )
