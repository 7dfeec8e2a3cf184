"""Captions that a captioner is rewarded for: drawn, or the candidates of a beam search."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from captioning.writer import Decoding
from models.ofa import OFAForConditionalGeneration
from models.ofa.encoder import OFAEncoderOutput
from models.ofa.sampling import sample_captions
from trainers.losses.cross_entropy import IGNORE_INDEX


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
    """Draws captions from encoder outputs, without a second encoder pass.

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

    def draw(
        self, model: OFAForConditionalGeneration, encoder_outputs: OFAEncoderOutput, rows: Sequence[int], epoch: int
    ) -> Samples:
        """Draw for B images; what a row gets depends on (seed, epoch, row) and the model alone.

        Args:
            model: Draws in the mode that it is in.
            encoder_outputs: Of the B images.
            rows: Their rows in the data set.
            epoch: From 0.
        """
        length = self.decoding.max_length + 1  # with EOS
        if self.method == "beam":
            sampled = self._beams(model, encoder_outputs).unflatten(0, (len(rows), -1))
            if not self.with_greedy:
                return Samples(sampled, None)
            nothing = torch.empty(len(rows), 0, length, dtype=torch.float64)
            greedy = sample_captions(model, encoder_outputs, nothing, with_greedy=True)
            longest = max(sampled.shape[-1], greedy.shape[-1])
            return Samples(*(F.pad(ids, (0, longest - ids.shape[-1]), value=IGNORE_INDEX) for ids in (sampled, greedy)))
        uniforms = torch.stack([self._uniforms(row, epoch, length) for row in rows])
        drawn = sample_captions(
            model,
            encoder_outputs,
            uniforms,
            with_greedy=self.with_greedy,
            temperature=self.temperature,
            top_p=self.top_p,
        ).unflatten(0, (len(rows), -1))
        if not self.with_greedy:
            return Samples(drawn, None)
        return Samples(drawn[:, :-1], drawn[:, -1])

    def _uniforms(self, row: int, epoch: int, length: int) -> Tensor:
        generator = torch.Generator().manual_seed(random.Random(f"{self.seed}/sample/{epoch}/{row}").getrandbits(63))
        return torch.rand(self.num_samples, length, dtype=torch.float64, generator=generator)

    @torch.no_grad()
    def _beams(self, model: OFAForConditionalGeneration, encoder_outputs: OFAEncoderOutput) -> Tensor:
        rules = replace(self.decoding, num_beams=self.num_samples).generate_arguments()
        images = len(encoder_outputs.last_hidden_state)
        prompts = torch.zeros(images, 1, dtype=torch.int64, device=encoder_outputs.last_hidden_state.device)
        found = model.generate(
            input_ids=prompts,
            encoder_outputs=encoder_outputs,
            num_return_sequences=self.num_samples,
            # A caption that runs to the limit must be seen to have no end. As an argument: None in a configuration
            # object means the model's own setting.
            forced_eos_token_id=None,
            **rules,
        )
        found = found[:, 1:]  # without BOS
        return found.masked_fill(found.eq(model.config.pad_token_id), IGNORE_INDEX)
