"""Multi-head attention with OFA's scale, head scaling and position bias."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    bias: Tensor | None,
    padding: Tensor | None,
    scale: float,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention with an additive bias that is shared by the batch.

    The bias keeps its batch dimension of 1 as far as the kernels allow. A bias that needs a gradient sends
    ``scaled_dot_product_attention`` to its slow path on the CPU, which keeps three (B, H, T, S) tensors; there the
    scores are built in place instead and only the probabilities are kept.

    Args:
        query: (B, H, T, D).
        key: (B, H, S, D).
        value: (B, H, S, D).
        bias: Added to the scaled scores, (1, H, T, S). Masked positions hold ``finfo.min``.
        padding: (B, S), True where a key is padding, or None if there is no padding at all.
        scale: Factor of the raw scores.
        dropout: Probability of dropping an attention weight.

    Returns:
        (B, H, T, D).
    """
    floor = torch.finfo(query.dtype).min
    if bias is not None and bias.requires_grad and query.device.type == "cpu":
        scores = (query * scale) @ key.transpose(-1, -2)
        scores += bias
        if padding is not None:
            scores.masked_fill_(padding[:, None, None, :], floor)
        return F.dropout(scores.softmax(-1), dropout) @ value
    mask = bias
    if padding is not None:
        padding_bias = torch.zeros(padding.shape, dtype=query.dtype, device=query.device).masked_fill_(padding, floor)
        padding_bias = padding_bias[:, None, None, :]
        mask = padding_bias if bias is None else bias + padding_bias
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scale)


class CaptionSlots(NamedTuple):
    """Where captions stand when every row of keys has room for as many as the row with the most.

    Attributes:
        per_row: Slots of a row.
        slots: Slot of each caption among all of them, int64 (N,).
    """

    per_row: int
    slots: Tensor


def caption_slots(caption_rows: Tensor, rows: int) -> CaptionSlots:
    """Slots of captions that are dealt out unevenly.

    Args:
        caption_rows: The row of each caption, int64 (N,), ascending.
        rows: B.
    """
    captions = torch.bincount(caption_rows, minlength=rows)
    before = captions.cumsum(0) - captions
    per_row = int(captions.max())
    number = torch.arange(len(caption_rows), device=caption_rows.device) - before[caption_rows]
    return CaptionSlots(per_row, caption_rows * per_row + number)


class OFAAttention(nn.Module):
    """Attention whose heads are scaled by ``c_attn`` before the output projection (NormFormer).

    Args:
        width: Size of the hidden states.
        heads: Number of heads.
        scale_factor: Scores are divided by ``sqrt(head_dim * scale_factor)``.
        dropout: On the attention weights.
    """

    def __init__(self, width: int, heads: int, scale_factor: float, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads * scale_factor) ** -0.5
        self.dropout = dropout
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.c_attn = nn.Parameter(torch.ones(heads))

    def split_heads(self, hidden: Tensor) -> Tensor:
        """(B, T, C) to (B, H, T, D)."""
        return hidden.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def key_value(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of (B, S, C), each (B, H, S, D).

        ``c_attn`` is applied to the values: the weighted sum is linear in them, and cached values are scaled once.
        """
        value = self.split_heads(self.v_proj(hidden)) * self.c_attn[:, None, None]
        return self.split_heads(self.k_proj(hidden)), value

    def forward(
        self,
        hidden: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None = None,
        padding: Tensor | None = None,
        slots: CaptionSlots | None = None,
    ) -> Tensor:
        """Attend from hidden states to keys and values.

        There may be several rows of queries per row of keys (beams, samples or captions of one image, next to each
        other): they are answered in one product against the same keys, which are never repeated.

        Args:
            hidden: (N, T, C) with N = B * K, or with ``slots`` any N.
            key: (B, H, S, D).
            value: (B, H, S, D).
            bias: (1, H, T, S).
            padding: (B, S), True at padding.
            slots: Of the rows of queries, where rows of keys have different numbers of them.

        Returns:
            (N, T, C).
        """
        length = hidden.shape[1]
        query = self.split_heads(self.q_proj(hidden))
        if slots is not None:
            empty = query.new_zeros(key.shape[0] * slots.per_row, *query.shape[1:])
            query = empty.index_copy(0, slots.slots, query)
        per_key = query.shape[0] // key.shape[0]
        if per_key > 1:
            query = query.unflatten(0, (-1, per_key)).transpose(1, 2).flatten(2, 3)  # (B, H, K * T, D)
            bias = bias if bias is None else bias.repeat(1, 1, per_key, 1)
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, bias=bias, padding=padding, scale=self.scale, dropout=dropout)
        if per_key > 1:
            mixed = mixed.unflatten(2, (per_key, length)).transpose(1, 2).flatten(0, 1)
        if slots is not None:
            mixed = mixed[slots.slots]
        return self.out_proj(mixed.transpose(1, 2).flatten(2))
