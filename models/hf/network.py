"""What every captioner of transformers does alike: pictures once, then any number of captions of each behind a prefix.

Captions of one picture stand in one row behind what they share, and see that and themselves: ``mask = causal & same
caption``, positions going on from the end of the prefix in each. So neither the picture's states nor its prefix are
ever repeated, in training or in decoding.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from preprocessors.collator import IGNORE_INDEX

CAPTIONS_PER_ROW = 16
"""Captions that stand behind one prefix at most: each sees the columns of all, so more cost more than another row."""


class EncodedPictures(NamedTuple):
    """B pictures with their prompts, as captions are made from them.

    Attributes:
        prefix: Embeddings of what stands before a caption in the decoder, (B, P, C), filled up on the right.
        prefix_mask: bool (B, P), True where something stands; the first always.
        context: States that the decoder attends to, (B, S, C); None if it has none.
        context_mask: bool (B, S), True where there is one; None is everywhere.
    """

    prefix: Tensor
    prefix_mask: Tensor
    context: Tensor | None = None
    context_mask: Tensor | None = None

    def repeated(self, times: int) -> EncodedPictures:
        """Every picture so many times, those of one next to each other."""
        if times == 1:
            return self
        return EncodedPictures._make(None if part is None else part.repeat_interleave(times, 0) for part in self)


class CaptionNetwork(nn.Module):
    """Stands before a class of transformers among the bases of an adapter's network; its weights keep their names."""

    accepts_loss_kwargs = False
    prefix_is_causal = True
    """Whether what stands before a caption sees only what is before it, and not all of each other."""

    def look(self, patch_images: Tensor) -> Tensor:
        """Pictures (P, 3, H, W) to features (P, F, h, w)."""
        raise NotImplementedError

    def read(self, input_ids: Tensor, features: Tensor | None, patch_masks: Tensor | None) -> EncodedPictures:
        """Prompts (B, S) and the features of their pictures (B, F, h, w), if there are any, to what captions need."""
        raise NotImplementedError

    def embed(self, token_ids: Tensor) -> Tensor:
        """Caption tokens (B, L) as the decoder takes them, (B, L, C)."""
        raise NotImplementedError

    def decode(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, encoded: EncodedPictures, cache: Any
    ) -> Tensor:
        """One pass of the decoder.

        Args:
            embeddings: (B, L, C), not changed.
            positions: int64 (B, L).
            mask: bool (B, L, S), True where a token sees one of the S in the cache and here.
            encoded: The pictures, for their context.
            cache: Of :meth:`new_cache`, which these tokens go into; None keeps nothing.

        Returns:
            States, (B, L, C).
        """
        raise NotImplementedError

    def project(self, hidden: Tensor) -> Tensor:
        """States (..., C) to logits (..., V)."""
        raise NotImplementedError

    def new_cache(self) -> Any:
        """An empty one."""
        raise NotImplementedError

    def vision_network(self) -> nn.Module:
        """The module that pictures pass."""
        raise NotImplementedError

    def prefix_sight(self, columns: int, behind: int, device: torch.device) -> Tensor:
        """What a prefix and tokens of one caption behind it see of each other, bool (L, L)."""
        mask = causal(columns + behind, device)
        if not self.prefix_is_causal:
            mask[:columns, :columns] = True
        return mask

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation; a vision network that is not trained stays in evaluation."""
        super().train(mode)
        vision = self.vision_network()
        if not any(parameter.requires_grad for parameter in vision.parameters()):
            vision.eval()
        return self

    def forward(
        self,
        input_ids: Tensor | None = None,
        patch_images: Tensor | None = None,
        patch_masks: Tensor | None = None,
        image_features: Tensor | None = None,
        picture_rows: Tensor | None = None,
        encoded: EncodedPictures | None = None,
        token_ids: Tensor | None = None,
        caption_rows: Tensor | None = None,
        packed: bool = False,
    ) -> Any:
        """Encode pictures with their prompts, or score captions of what was encoded: what a wrapper is called with.

        Args:
            input_ids: Prompts (B, S).
            patch_images: As of :meth:`models.captioner.Captioner.encode`, and so the next three.
            patch_masks: Of it.
            image_features: Of it.
            picture_rows: Of it.
            encoded: Of an earlier call; then captions are scored.
            token_ids: As of :meth:`models.captioner.Captioner.logits`, and so the next two.
            caption_rows: Of it.
            packed: Of it.

        Returns:
            :class:`EncodedPictures`, or logits.
        """
        if encoded is not None:
            assert token_ids is not None
            return self.caption_logits(encoded, token_ids, caption_rows, packed)
        assert input_ids is not None
        return self.encode(input_ids, patch_images, patch_masks, image_features, picture_rows)

    def encode(
        self,
        input_ids: Tensor,
        patch_images: Tensor | None = None,
        patch_masks: Tensor | None = None,
        image_features: Tensor | None = None,
        picture_rows: Tensor | None = None,
    ) -> EncodedPictures:
        """See :meth:`models.captioner.Captioner.encode`."""
        features = image_features if patch_images is None else self.look(patch_images)
        if features is not None and picture_rows is not None:
            features = features[picture_rows]
        return self.read(input_ids, features, None if features is None else patch_masks)

    def caption_logits(
        self, encoded: EncodedPictures, token_ids: Tensor, caption_rows: Tensor | None = None, packed: bool = False
    ) -> Tensor:
        """Scores of captions over the whole vocabulary, see :meth:`models.captioner.Captioner.logits`."""
        images = len(encoded.prefix)
        if caption_rows is None:
            captions, places = token_ids.unflatten(0, (images, -1)), None
        else:
            captions, places = _in_rows(token_ids, caption_rows, images)
        hidden = self._states(encoded, captions)  # (B, K, T, C)
        hidden = hidden.flatten(0, 1) if places is None else hidden[caption_rows, places]
        return self.project(hidden[token_ids.ne(IGNORE_INDEX)] if packed else hidden)

    def _states(self, encoded: EncodedPictures, captions: Tensor) -> Tensor:
        """What each token (B, K, T) is predicted from, (B, K, T, C)."""
        rows = -(-captions.shape[1] // CAPTIONS_PER_ROW)
        if rows == 1:
            return self._states_of_row(encoded, captions)
        count = captions.shape[1]
        filled = F.pad(captions, (0, 0, 0, -count % rows), value=IGNORE_INDEX)
        hidden = self._states_of_row(encoded.repeated(rows), filled.unflatten(1, (rows, -1)).flatten(0, 1))
        return hidden.unflatten(0, (len(captions), rows)).flatten(1, 2)[:, :count]

    def _states_of_row(self, encoded: EncodedPictures, captions: Tensor) -> Tensor:
        _, count, length = captions.shape
        before = captions[..., :-1].clamp(min=0).flatten(1)  # what stands behind the prefix, (B, K * (T - 1))
        ends = prefix_lengths(encoded)
        columns, device = encoded.prefix.shape[1], captions.device
        own = torch.arange(length - 1, device=device).repeat(count)  # place in its caption
        positions = torch.arange(columns, device=device).expand(len(captions), -1)
        positions = torch.cat([positions, ends[:, None] + own], 1)
        caption = torch.arange(count, device=device).repeat_interleave(length - 1)
        behind = (caption[:, None] == caption) & (own[:, None] >= own)
        mask = F.pad(self.prefix_sight(columns, 0, device), (0, before.shape[1]))
        mask = torch.cat([mask, F.pad(behind, (columns, 0), value=True)])  # (L, L)
        seen = F.pad(encoded.prefix_mask, (0, before.shape[1]), value=True)
        # What fills a prefix up sees itself too: a row of scores that are all masked is no number.
        mask = (mask & seen[:, None]) | torch.eye(len(mask), dtype=torch.bool, device=device)
        embeddings = torch.cat([encoded.prefix, self.embed(before)], 1)
        hidden = self.decode(embeddings, positions, mask, encoded, None)
        first = last_of(hidden, ends)[:, None, None].expand(-1, count, -1, -1)
        return torch.cat([first, hidden[:, columns:].unflatten(1, (count, length - 1))], 2)


class PictureFeatures(nn.Module):
    """The vision network as part ``vision``: pixels (P, 3, H, W) to features (P, F, h, w).

    Args:
        network: Whose it is; only the vision network is a part of this module.
        described: What features depend on beside weights and pictures.
    """

    def __init__(self, network: CaptionNetwork, described: bytes) -> None:
        super().__init__()
        self.network, self.described, self._look = network.vision_network(), described, network.look
        self.training = self.network.training

    def train(self, mode: bool = True) -> Self:
        """Switch to training or evaluation, in which a network that is not trained stays."""
        return super().train(mode and any(parameter.requires_grad for parameter in self.network.parameters()))

    def forward(self, patch_images: Tensor) -> Tensor:
        """Features of pictures."""
        return self._look(patch_images)


def library_mask(mask: Tensor, states: Tensor, implementation: str) -> Tensor:
    """A mask bool (B, L, S) as the library's attention takes it: added to the scores by its own, otherwise as it is.

    Args:
        mask: True where something is seen.
        states: Of the number format that the scores are in.
        implementation: Of the library's attention.
    """
    if implementation != "eager":
        return mask[:, None]
    added = torch.zeros(mask.shape, dtype=states.dtype, device=mask.device)
    return added.masked_fill_(~mask, torch.finfo(added.dtype).min)[:, None]


def causal(length: int, device: torch.device) -> Tensor:
    """What each of so many tokens sees of them, bool (L, L)."""
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()


def prefix_lengths(encoded: EncodedPictures) -> Tensor:
    """Tokens of each prefix, int64 (B,): the position of a caption's first token."""
    return encoded.prefix_mask.sum(1)


def last_of(hidden: Tensor, lengths: Tensor) -> Tensor:
    """States (B, L, C) at the last of so many tokens (B,), (B, C)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), lengths - 1]


def _in_rows(token_ids: Tensor, caption_rows: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Captions (N, T) of different numbers a picture as (B, K, T), and the place of each in its row (N,)."""
    counts = torch.bincount(caption_rows, minlength=images)
    first = counts.cumsum(0) - counts
    places = torch.arange(len(caption_rows), device=caption_rows.device) - first[caption_rows]
    shape = (images, int(counts.max()), token_ids.shape[1])
    captions = token_ids.new_full(shape, IGNORE_INDEX)
    captions[caption_rows, places] = token_ids
    return captions, places
