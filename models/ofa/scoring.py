"""Log-probabilities of given tokens straight from hidden states, without logits of the whole batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

ROWS_PER_BLOCK = 64
"""Rows whose logits exist at a time: 13 MB of float32 over the published vocabulary."""


class _TokenLogProbs(torch.autograd.Function):
    """Log-softmax of a projection at one token per row.

    The gradient of ``log p`` by the hidden state is ``W[token] - sum_v p_v W_v``. It does not depend on what the
    log-probability is multiplied with later, so it is computed while the probabilities are at hand, and neither logits
    nor probabilities are kept for the backward pass.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, token_ids: Tensor, banned_id: int) -> Tensor:
        log_probs = hidden.new_empty(len(hidden), dtype=torch.float32)
        expected = torch.empty_like(hidden)
        for start in range(0, len(hidden), ROWS_PER_BLOCK):
            rows = slice(start, start + ROWS_PER_BLOCK)
            log_p = _block_log_probs(hidden[rows], weight, banned_id)
            log_probs[rows] = log_p.gather(-1, token_ids[rows, None])[:, 0]
            expected[rows] = log_p.exp_().to(weight.dtype) @ weight
        ctx.save_for_backward(hidden, weight, token_ids, weight[token_ids].to(hidden.dtype) - expected)
        ctx.banned_id = banned_id
        return log_probs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        hidden, weight, token_ids, slope = ctx.saved_tensors
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = torch.zeros_like(weight).index_add_(0, token_ids, (grad[:, None] * hidden).to(weight.dtype))
            for start in range(0, len(hidden), ROWS_PER_BLOCK):
                rows = slice(start, start + ROWS_PER_BLOCK)
                pull = _block_log_probs(hidden[rows], weight, ctx.banned_id).exp_().mul_(grad[rows, None])
                grad_weight -= pull.to(weight.dtype).T @ hidden[rows].to(weight.dtype)
        return (grad[:, None] * slope).to(hidden.dtype), grad_weight, None, None


def _block_log_probs(hidden: Tensor, weight: Tensor, banned_id: int) -> Tensor:
    logits = (hidden.to(weight.dtype) @ weight.T).float()
    logits[:, banned_id] = -torch.inf
    return logits.sub_(logits.logsumexp(-1, keepdim=True))


def projected_log_probs(hidden: Tensor, weight: Tensor, token_ids: Tensor, banned_id: int) -> Tensor:
    """Log-probability of one token per row under ``softmax(hidden @ weight.T)`` without the banned token.

    Args:
        hidden: (M, C).
        weight: Output projection (V, C); its gradient costs a second pass over the logits, and is skipped if frozen.
        token_ids: int64 (M,), in [0, V).
        banned_id: Has probability zero.

    Returns:
        float32 (M,), nats; ``-inf`` where the banned token is asked for.
    """
    log_probs: Tensor = _TokenLogProbs.apply(hidden, weight, token_ids, banned_id)
    return log_probs
