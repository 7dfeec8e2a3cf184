"""Scores of texts that are there already: of all that follows each token, and of the tokens themselves."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preprocessors.collator import IGNORE_INDEX


def block_logits(
    network: nn.Module,
    token_ids: Tensor,
    position_ids: Tensor | None = None,
    mask: Tensor | None = None,
    **more: object,
) -> Tensor:
    """Scores of the token behind each position.

    The mask keeps documents in one row apart. Positions that begin again do it too, but only where the library is given
    neither a mask nor a cache, and otherwise say nothing.

    Args:
        network: A causal language model of transformers, or what wraps it.
        token_ids: int64 (B, L).
        position_ids: int64 (B, L), of each token in its document; None counts from the row's beginning.
        mask: bool (B, 1, L, L), True where the token of a row may see that of a column; every token sees itself. None
            sees all that came before.
        **more: For the network.

    Returns:
        (B, L, V), with gradient.
    """
    found: Tensor = network(
        input_ids=token_ids, position_ids=position_ids, attention_mask=mask, use_cache=False, **more
    ).logits
    return found


def token_log_probs(
    network: nn.Module, prompts: Sequence[Sequence[int]], ids: Tensor, *, filler: int, entries: int
) -> Tensor:
    """Log-probabilities of tokens behind prompts, each given all that stands before it.

    Args:
        network: As for :func:`block_logits`.
        prompts: N beginnings, at least a token each; their lengths may differ.
        ids: int64 (N, T), filled up with -100.
        filler: Any token; it stands behind what counts, where nobody sees it.
        entries: The first so many of the vocabulary are all that there are.

    Returns:
        float32 (N, T), nats, with gradient; 0 for what is filled up.
    """
    counted = ids.ne(IGNORE_INDEX)
    tokens = ids.masked_fill(~counted, filler)
    heads = [torch.tensor(prompt, device=ids.device) for prompt in prompts]
    longest = max(len(head) for head in heads)
    joined = [torch.cat([head, row[:-1]]) for head, row in zip(heads, tokens, strict=True)]
    whole = torch.stack([F.pad(row, (0, longest - len(head))) for row, head in zip(joined, heads, strict=True)])
    # The last token of a prompt foretells the first of the text.
    starts = torch.tensor([len(head) - 1 for head in heads], device=ids.device)
    wanted = starts[:, None] + torch.arange(ids.shape[1], device=ids.device)  # (N, T)
    logits = block_logits(network, whole, logits_to_keep=wanted)[..., :entries].float()
    found = logits.gather(-1, tokens[..., None])[..., 0] - logits.logsumexp(-1)
    return found.masked_fill(~counted, 0.0)
