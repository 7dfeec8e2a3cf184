"""Texts that grow token by token over a cache, for searches and draws of one's own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class LMSteps:
    """See :class:`models.captioner.Steps`; prompts may differ in length and pass the network once.

    Args:
        network: In evaluation mode.
        prompts: N beginnings, token ids with BOS.
        entries: V, of the vocabulary; what a network has behind them is never chosen.

    Attributes:
        logits: Scores of the next token, float32 (N, V).
    """

    def __init__(self, network: PreTrainedModel, prompts: Sequence[Sequence[int]], entries: int) -> None:
        self._network, self._entries, device = network, entries, network.device
        self._cache = DynamicCache(config=network.config)
        longest = max(len(prompt) for prompt in prompts)
        gaps = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
        rows = [[prompt[0]] * (longest - len(prompt)) + [*prompt] for prompt in prompts]  # filled up on the left
        places = torch.arange(longest, device=device)
        # The mask that the library makes of positions alone lets a row see what fills it up.
        self._seen = places >= gaps[:, None] if bool(gaps.any()) else None  # (N, S)
        self._places = (places - gaps[:, None]).clamp(min=0)  # (N, L)
        mask = None
        if self._seen is not None:
            causal = places[:, None] >= places
            # What fills up sees itself, since a row of scores that are all masked is no number.
            mask = ((causal & self._seen[:, None, :]) | torch.eye(longest, dtype=torch.bool, device=device))[:, None]
        self.logits = self._look(torch.tensor(rows, device=device), mask)

    @property
    def log_probs(self) -> Tensor:
        """Of the next token, float32 (N, V), nats."""
        return self.logits.log_softmax(-1)

    def take(self, rows: Tensor, token_ids: Tensor) -> None:
        """Keep the state of the rows, in their number."""
        device = self._network.device
        rows = rows.to(device)
        unchanged = len(rows) == len(self._places) and bool((rows == torch.arange(len(rows), device=device)).all())
        if not unchanged:
            self._cache.reorder_cache(rows)
        self._places = self._places[rows, -1:] + 1
        mask = None
        if self._seen is not None:
            seen = self._seen[rows]
            self._seen = torch.cat([seen, seen.new_ones(len(rows), 1)], 1)
            mask = self._seen[:, None, None, :]
        self.logits = self._look(token_ids.to(device)[:, None], mask)

    @torch.no_grad()
    def _look(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        found = self._network(
            input_ids=tokens,
            position_ids=self._places,
            attention_mask=mask,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = found.logits[:, -1, : self._entries]
        return logits.float()
