"""Captions that a captioner is rewarded for: drawn, or the candidates of a beam search."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.captioner import Captioner, Encoded
from models.settings import Decoding
from preprocessors.collator import IGNORE_INDEX


class Samples(NamedTuple):
    """Captions of B images.

    Attributes:
        token_ids: (B, K, T) with EOS, ``-100`` after it.
        greedy_ids: (B, T) likewise, the likeliest token at every position; None where nobody asked for it.
    """

    token_ids: Tensor
    greedy_ids: Tensor | None

    def joined(self) -> Tensor:
        """An image's K samples and, if there is one, its greedy caption behind them: (B, K + 0 or 1, T)."""
        if self.greedy_ids is None:
            return self.token_ids
        return torch.cat([self.token_ids, self.greedy_ids[:, None]], dim=1)


@dataclass(frozen=True)
class Sampler:
    """Draws captions of pictures that are encoded already.

    Attributes:
        num_samples: K per image.
        method: ``multinomial``, or ``beam`` for the K best of a beam search, which are no independent draws.
        decoding: Its length bounds all captions; its other rules bind the beam search alone.
        temperature: Of multinomial draws.
        top_p: Of multinomial draws; the captions are scored with all tokens nevertheless.
        with_greedy: Decode greedily as well.
        seed: Of the run.
    """

    num_samples: int
    method: Literal["multinomial", "beam"]
    decoding: Decoding
    temperature: float = 1.0
    top_p: float = 1.0
    with_greedy: bool = False
    seed: int = 7

    def draw(self, captioner: Captioner, encoded: Encoded, rows: Sequence[int], epoch: int) -> Samples:
        """Draw for B images; what a row gets depends on (seed, epoch, row) and the model alone.

        Args:
            captioner: Draws in the mode that its module is in.
            encoded: The B images.
            rows: Their rows in the data set.
            epoch: From 0.
        """
        length = self.decoding.max_length + 1  # with EOS
        if self.method == "beam":
            sampled = self._beams(captioner, encoded).unflatten(0, (len(rows), -1))
            if not self.with_greedy:
                return Samples(sampled, None)
            nothing = torch.empty(len(rows), 0, length, dtype=torch.float64)
            greedy = captioner.sample(encoded, nothing, with_greedy=True)
            longest = max(sampled.shape[-1], greedy.shape[-1])
            return Samples(*(F.pad(ids, (0, longest - ids.shape[-1]), value=IGNORE_INDEX) for ids in (sampled, greedy)))
        uniforms = torch.stack([self._uniforms(row, epoch, length) for row in rows])
        drawn = captioner.sample(
            encoded, uniforms, with_greedy=self.with_greedy, temperature=self.temperature, top_p=self.top_p
        ).unflatten(0, (len(rows), -1))
        if not self.with_greedy:
            return Samples(drawn, None)
        return Samples(drawn[:, :-1], drawn[:, -1])

    def _uniforms(self, row: int, epoch: int, length: int) -> Tensor:
        generator = torch.Generator().manual_seed(random.Random(f"{self.seed}/sample/{epoch}/{row}").getrandbits(63))
        return torch.rand(self.num_samples, length, dtype=torch.float64, generator=generator)

    def _beams(self, captioner: Captioner, encoded: Encoded) -> Tensor:
        # A caption that runs to the limit must be seen to have no end.
        rules = replace(self.decoding, num_beams=self.num_samples)
        return captioner.beams(encoded, rules, num_captions=self.num_samples, force_end=False)
