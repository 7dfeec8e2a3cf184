"""Self-critical training: what each drawn caption is worth, and the loss that follows from it."""

from __future__ import annotations

from torch import Tensor

BASELINES = ("leave_one_out", "group_mean", "greedy")


def advantages(rewards: Tensor, baseline: str, greedy_rewards: Tensor | None = None) -> Tensor:
    """Reward of each sampled caption minus its baseline.

    Args:
        rewards: Sequence-level rewards. Shape (B, K).
        baseline: ``"leave_one_out"``: mean reward of the siblings, see :func:`leave_one_out_advantage`.
            ``"group_mean"``: mean reward of all K, the sample itself included. ``"greedy"``: reward of the caption
            decoded greedily from the same image, which was not drawn and so does not bias the gradient; K may be 1.
        greedy_rewards: Needed for ``"greedy"``. Shape (B,).

    Returns:
        Advantages in the unit of ``rewards``, detached. Shape (B, K). Exactly zero where all rewards that enter are
        equal.

    Raises:
        ValueError: If the baseline is unknown, a shape is wrong, or K is too small for the baseline.

    Source:
        Luo 2020, arXiv:2003.09971 (leave-one-out); Rennie et al. 2017, arXiv:1612.00563 (greedy).
    """
    if baseline == "leave_one_out":
        return leave_one_out_advantage(rewards)
    if baseline == "group_mean":
        shifted = _shift(rewards, baseline)
        return shifted - shifted.mean(1, keepdim=True)
    if baseline != "greedy":
        raise ValueError(f"baseline={baseline!r}: unknown; use one of {', '.join(BASELINES)}")
    if rewards.ndim != 2 or greedy_rewards is None or greedy_rewards.shape != rewards.shape[:1]:
        given = None if greedy_rewards is None else tuple(greedy_rewards.shape)
        raise ValueError(f"greedy needs rewards (B, K) and greedy rewards (B,), not {tuple(rewards.shape)} and {given}")
    return (rewards - greedy_rewards[:, None]).detach()


def leave_one_out_advantage(rewards: Tensor) -> Tensor:
    """Reward of each sampled caption minus the mean reward of its siblings.

    The baseline of sample k never sees sample k, so for independent draws it lowers the variance without
    biasing the gradient. Beam candidates (OFA, the seed) are not.

    Args:
        rewards: Sequence-level rewards, raw CIDEr-D in [0, 10]. Shape (B, K).

    Returns:
        Advantages in the unit of ``rewards``, detached. Shape (B, K); every row sums to zero.

    Raises:
        ValueError: If ``rewards`` is not two-dimensional or K < 2.

    Source:
        Luo 2020, arXiv:2003.09971. The seed subtracts the mean over all K instead, which scales this by (K - 1) / K.
    """
    shifted = _shift(rewards, "leave_one_out")
    num_samples = rewards.shape[1]
    return (num_samples * shifted - shifted.sum(1, keepdim=True)) / (num_samples - 1)


def _shift(rewards: Tensor, baseline: str) -> Tensor:
    """Rewards relative to the first of their row, detached.

    A mean of K equal numbers can miss them by a rounding error. Adam scales gradients to one size, so a batch of such
    remainders would be a full step in a random direction; relative to one of them, equal rewards are exactly zero.
    """
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(f"{baseline} needs rewards (B, K) with K of 2 or more, not {tuple(rewards.shape)}")
    return (rewards - rewards[:, :1]).detach()


def self_critical_loss(token_log_probs: Tensor, advantages: Tensor, caption_mask: Tensor) -> Tensor:
    """Minus the log-probability of every caption token times its caption's advantage, summed over the tokens.

    Args:
        token_log_probs: Of the sampled tokens, with gradient. Shape (N, T), nats.
        advantages: One per caption; no gradient flows to them. Shape (N,).
        caption_mask: bool (N, T), True = counts, EOS included.

    Returns:
        A sum: divide by the tokens of the whole optimizer step. Golden ``scst_loss_sum``.

    Raises:
        ValueError: If a shape is wrong: (N, 1) times (N,) would silently be (N, N).
    """
    if advantages.shape != token_log_probs.shape[:1] or caption_mask.shape != token_log_probs.shape:
        shapes = [tuple(tensor.shape) for tensor in (token_log_probs, advantages, caption_mask)]
        raise ValueError(f"needs token log-probs (N, T), advantages (N,) and a caption mask (N, T), not {shapes}")
    # Filled rather than multiplied: behind its end a caption may have a token of probability zero, and 0 * inf is NaN.
    counted = token_log_probs.masked_fill(~caption_mask, 0.0)
    return -(counted * advantages.detach()[:, None]).sum()


def kl_divergence(logits: Tensor, frozen_logits: Tensor, caption_mask: Tensor) -> Tensor:
    """KL(p || q) of the model to its frozen starting point, exact over the vocabulary, summed over caption tokens.

    The gradient is that of the distributions at the prefixes given; that the model also chooses the prefixes is left
    to the reward.

    Args:
        logits: Of p, with gradient. Shape (N, T, V); ``-inf`` for tokens that are never drawn.
        frozen_logits: Of q, under the same bans; no gradient flows to them. Shape (N, T, V).
        caption_mask: bool (N, T), True = counts, EOS included.

    Returns:
        A sum in nats; divide by the tokens of the whole optimizer step.
    """
    # Counted positions first: what stands behind the captions would be most of the memory.
    log_p = logits[caption_mask].float().log_softmax(-1)
    log_q = frozen_logits.detach()[caption_mask].float().log_softmax(-1)
    ratio = (log_p - log_q).masked_fill_(log_p.isneginf(), 0.0)  # a banned token adds 0 * log(0 / 0), in the limit 0
    return (log_p.exp() * ratio).sum()
