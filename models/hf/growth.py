"""Captions that grow token by token, all those of a picture in one row over one cache."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.guidance import guide
from models.hf.network import CaptionNetwork, EncodedPictures, last_of, prefix_lengths


class Growth:
    """Beginnings of captions of B pictures, N in all, those of a picture next to each other.

    What a beginning was made of is kept as what it sees of its row's cache: going on with others copies a mask of
    booleans, and no keys and values.

    Args:
        network: In the mode that the pictures were encoded in.
        encoded: Of B pictures; each passes the decoder once.
        per_picture: Beginnings of each, N / B.
        prefix: Token ids that all of them start with.

    Attributes:
        logits: Of the next token, (N, V).
    """

    @torch.no_grad()
    def __init__(
        self, network: CaptionNetwork, encoded: EncodedPictures, per_picture: int = 1, prefix: Sequence[int] = ()
    ) -> None:
        self._network, self._encoded, self._cache = network, encoded, network.new_cache()
        ends, device = prefix_lengths(encoded), encoded.prefix.device
        images, columns, given = len(ends), encoded.prefix.shape[1], len(prefix)
        tokens = torch.tensor([[*prefix]] * images, dtype=torch.int64, device=device)
        seen = F.pad(encoded.prefix_mask, (0, given), value=True)
        positions = torch.arange(columns, device=device).expand(images, -1)
        positions = torch.cat([positions, ends[:, None] + torch.arange(given, device=device)], 1)
        mask = network.prefix_sight(columns, given, device) & seen[:, None]
        mask = mask | torch.eye(columns + given, dtype=torch.bool, device=device)
        embeddings = torch.cat([encoded.prefix, network.embed(tokens)], 1)
        hidden = network.decode(embeddings, positions, mask, encoded, self._cache)
        last = hidden[:, -1] if given else last_of(hidden, ends)
        self.logits = network.project(last).repeat_interleave(per_picture, 0)
        self._seen = seen.repeat_interleave(per_picture, 0)  # (N, S)
        self._next = (ends + given).repeat_interleave(per_picture, 0)  # (N,), their positions

    @torch.no_grad()
    def take(self, rows: Tensor, token_ids: Tensor) -> None:
        """Go on with others in their place.

        Args:
            rows: Each is one of the N, of the same picture; int64 (M,), M / B for each picture.
            token_ids: A token behind it, int64 (M,).
        """
        images = len(self._encoded.prefix)
        count = len(rows) // images
        own = torch.eye(count, dtype=torch.bool, device=rows.device).repeat(images, 1)
        self._seen = torch.cat([self._seen[rows], own], 1)
        positions = self._next[rows]
        self._next = positions + 1
        embeddings = self._network.embed(token_ids.view(images, count))
        mask = self._seen.view(images, count, -1)
        hidden = self._network.decode(embeddings, positions.view(images, count), mask, self._encoded, self._cache)
        self.logits = self._network.project(hidden).flatten(0, 1)


class GuidedGrowth:
    """The same captions beside two prompts.

    Args:
        styled: With the styled prompt.
        neutral: With the neutral one.
        weight: As of :func:`models.guidance.guide`.
    """

    def __init__(self, styled: Growth, neutral: Growth, weight: float) -> None:
        self._both, self._weight = (styled, neutral), weight

    @property
    def logits(self) -> Tensor:
        """Of the next token, (N, V); log-probabilities, but not of a distribution."""
        styled, neutral = self._both
        return guide(styled.logits, neutral.logits, self._weight)

    def take(self, rows: Tensor, token_ids: Tensor) -> None:
        """As of :class:`Growth`."""
        for one in self._both:
            one.take(rows, token_ids)


class DrawableSteps:
    """Beginnings of captions of one picture, see :class:`models.captioner.Steps`.

    Args:
        growth: Of one picture.
        drawable: bool (V',), True for what a caption can be made of.
    """

    def __init__(self, growth: Growth, drawable: Tensor) -> None:
        self._growth, self._drawable = growth, drawable

    @property
    def log_probs(self) -> Tensor:
        """Of the next token, float32 (N, V'), nats."""
        return only_drawable(self._growth.logits, self._drawable).log_softmax(-1)

    def take(self, rows: Tensor, token_ids: Tensor) -> None:
        """As of :class:`Growth`, from any device."""
        device = self._drawable.device
        self._growth.take(rows.to(device), token_ids.to(device))


def only_drawable(logits: Tensor, drawable: Tensor) -> Tensor:
    """The first columns of logits (..., V) in float32, ``-inf`` where ``drawable`` (V',) is not."""
    return logits[..., : len(drawable)].float().masked_fill(~drawable, -torch.inf)
