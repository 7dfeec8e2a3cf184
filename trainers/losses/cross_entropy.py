"""Losses over logits: pure functions, no tokenizer, no decoding."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from preprocessors.collator import IGNORE_INDEX


class CrossEntropy(NamedTuple):
    """Sums over the counted tokens of a batch; divide by a token count to get a mean.

    Attributes:
        loss: Label-smoothed cross-entropy, nats, with gradient.
        nll: Negative log-likelihood, nats, detached.
        tokens: Tokens that count, int64.
    """

    loss: Tensor
    nll: Tensor
    tokens: Tensor


def count_kept(tokens: int, drop_worst: float) -> int:
    """Tokens that stay when the worst are dropped: the share rounded down, but one at least if there are any."""
    return min(tokens, max(1, int(tokens * (1.0 - drop_worst))))


def token_log_probs(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Log-probability of each chosen token: its logit minus the log-sum-exp.

    The (N, T, V) log-probabilities are never stored; autograd keeps the logits alone.

    Args:
        logits: (N, T, V); divide them by the temperature first if the tokens were drawn with one.
        token_ids: int64 (N, T), in [0, V) where nothing counts as well.

    Returns:
        float32 (N, T), nats.
    """
    logits = logits.float()
    return logits.gather(-1, token_ids[..., None])[..., 0] - logits.logsumexp(-1)


class _TokenNll(torch.autograd.Function):
    """Negative log-likelihood of tokens (N,) over logits (N, V), in one buffer of that size beside the logits.

    What autograd would chain together fills two more, and fetching their memory costs more than the arithmetic.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, token_ids: Tensor) -> Tensor:
        """Keeps the log-probabilities."""
        log_probs = logits.log_softmax(-1)
        ctx.save_for_backward(log_probs, token_ids)
        return -log_probs.gather(-1, token_ids[:, None])[:, 0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        """Turns them into the gradient, in place: a second backward pass would find them gone."""
        log_probs, token_ids = ctx.saved_tensors
        grad = log_probs.exp_().mul_(grads[0][:, None])
        return grad.scatter_add_(-1, token_ids[:, None], -grads[0][:, None]), None


def label_smoothed_cross_entropy(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, drop_worst: float = 0.0
) -> CrossEntropy:
    """Cross-entropy with OFA's label smoothing.

    Per token: ``(1 - eps - eps_i) * nll + eps_i * sum_v(-log p_v)`` with ``eps_i = eps / (V - 1)``. Both terms follow
    from the logits' log-sum-exp, so the (B, T, V) log-probabilities are not stored where there is smoothing.

    Args:
        logits: (B, T, V), or (M, V) of tokens that all count.
        labels: (B, T), ``-100`` where nothing counts, or (M,).
        label_smoothing: eps, in [0, 1).
        drop_worst: Share of the tokens to leave out, those with the highest loss; in [0, 1).

    Returns:
        Sums over the tokens that are kept. Golden ``xe_ls0.1_drop_worst0.25`` is their mean.

    Source:
        ``label_smoothed_nll_loss`` of OFA (criterions/label_smoothed_cross_entropy.py).
    """
    logits = logits.float()
    counted = labels.ne(IGNORE_INDEX)
    if not label_smoothing:
        flat: Tensor = _TokenNll.apply(logits.flatten(0, -2), labels.clamp(min=0).flatten())  # type: ignore[no-untyped-call]
        nll = loss = flat.view_as(labels)
    else:
        log_normalizer = logits.logsumexp(-1)  # (B, T)
        nll = log_normalizer - logits.gather(-1, labels.clamp(min=0)[..., None]).squeeze(-1)
        vocabulary = logits.shape[-1]
        spread = label_smoothing / (vocabulary - 1)
        all_nll = vocabulary * log_normalizer - logits.sum(-1)
        loss = (1.0 - label_smoothing - spread) * nll + spread * all_nll
    # Selecting per-token losses, not logits: the copy and its backward pass would cost V times as much.
    loss, nll = loss[counted], nll[counted]  # (N,)
    if drop_worst:
        loss, kept = torch.topk(loss, k=count_kept(len(loss), drop_worst), largest=False)
        nll = nll[kept]
    return CrossEntropy(loss.sum(), nll.detach().sum(), torch.tensor(len(loss), device=loss.device))


def r_drop(logits: Tensor, labels: Tensor) -> Tensor:
    """Symmetric KL divergence between two dropout views of the same batch, summed over tokens.

    Args:
        logits: (2 B, T, V): the batch, then the batch again under other dropout masks.
        labels: (2 B, T), ``-100`` where nothing counts; both halves alike.

    Returns:
        ``sum_t (KL(p_t || q_t) + KL(q_t || p_t)) / 2`` in nats; divide by the tokens of one view.

    Source:
        Liang et al. 2021, arXiv:2106.14448. ModelScope's port adds the undivided sum to a mean, so that its weight
        grows with the batch; here both are sums over tokens.
    """
    half = logits.shape[0] // 2
    counted = labels[:half].ne(IGNORE_INDEX)
    p = logits[:half][counted].float().log_softmax(-1)
    q = logits[half:][counted].float().log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum() / 2
