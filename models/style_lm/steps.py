"""Texts that grow token by token over a cache, for searches and draws of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


class LMSteps:
    """See :class:`models.captioner.Steps`; texts may differ in length, and are filled up on their left.

    Args:
        network: In evaluation mode.
        entries: V, of the vocabulary; what a network has behind them is never chosen.
        cache: State behind N texts of S tokens.
        places: Of tokens in their texts, int64 (N, L), the last of each text at the end.
        seen: What of them is text, bool (N, S); None is all.

    Attributes:
        logits: Scores of the next token, float32 (N, V).
    """

    logits: Tensor

    def __init__(
        self, network: PreTrainedModel, entries: int, cache: DynamicCache, places: Tensor, seen: Tensor | None
    ) -> None:
        self._network, self._entries, self._cache = network, entries, cache
        self._device = network.device  # asked for once: the library looks for it among all parameters
        # The mask that the library makes of positions alone lets a row see what fills it up.
        self._places, self._seen = places, seen

    @classmethod
    def reading(cls, network: PreTrainedModel, prompts: Sequence[Sequence[int]], entries: int) -> Self:
        """Read texts, which pass the network once.

        Args:
            network: In evaluation mode.
            prompts: N beginnings, token ids with BOS.
            entries: Of the vocabulary.
        """
        device, longest = network.device, max(map(len, prompts))
        gaps = torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
        rows = [[prompt[0]] * (longest - len(prompt)) + [*prompt] for prompt in prompts]
        places = torch.arange(longest, device=device)
        seen = places >= gaps[:, None] if bool(gaps.any()) else None  # (N, S)
        steps = cls(network, entries, DynamicCache(config=network.config), (places - gaps[:, None]).clamp(min=0), seen)
        mask = None
        if seen is not None:
            causal = places[:, None] >= places
            # What fills up sees itself, since a row of scores that are all masked is no number.
            mask = ((causal & seen[:, None, :]) | torch.eye(longest, dtype=torch.bool, device=device))[:, None]
        steps.logits = steps._look(torch.tensor(rows, device=device), mask)
        return steps

    @classmethod
    def behind(cls, network: PreTrainedModel, states: Sequence[tuple[DynamicCache, int]], entries: int) -> Self:
        """Texts that were read before; their scores are there once tokens are taken.

        Args:
            network: In evaluation mode.
            states: Of N texts, each the cache of it alone and how many of its tokens count; they stay as they are.
            entries: Of the vocabulary.
        """
        lengths = [length for _, length in states]
        longest = max(lengths)
        layers = [
            [_filled([(layer.keys, layer.values)[part][0, :, :length] for layer, length in column]) for part in (0, 1)]
            for column in zip(*([(layer, length) for layer in cache.layers] for cache, length in states), strict=True)
        ]
        ends = torch.tensor(lengths, device=network.device)[:, None]
        seen = torch.arange(longest, device=network.device) >= longest - ends if min(lengths) < longest else None
        return cls(network, entries, DynamicCache([tuple(pair) for pair in layers]), ends - 1, seen)

    @property
    def log_probs(self) -> Tensor:
        """Of the next token, float32 (N, V), nats."""
        return self.logits.log_softmax(-1)

    def take(self, rows: Tensor, token_ids: Tensor) -> None:
        """Keep the state of the rows, in their number."""
        self._places = self._places[:, -1:] + 1
        if rows.tolist() != [*range(len(self._places))]:
            rows = rows.to(self._device)
            self._cache.reorder_cache(rows)
            self._places = self._places[rows]
            self._seen = None if self._seen is None else self._seen[rows]
        mask = None
        if self._seen is not None:
            self._seen = F.pad(self._seen, (0, 1), value=True)
            mask = self._seen[:, None, None, :]
        self.logits = self._look(token_ids.to(self._device)[:, None], mask)

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


def _filled(parts: Sequence[Tensor]) -> Tensor:
    """Keys or values (heads, length, width) of several texts as one, zeros before the shorter: (N, heads, S, width)."""
    heads, _, width = parts[0].shape
    filled = parts[0].new_zeros(len(parts), heads, max(part.shape[1] for part in parts), width)
    for row, part in zip(filled, parts, strict=True):
        row[:, row.shape[1] - part.shape[1] :] = part
    return filled
