"""Captions of one picture that grow token by token, for searches other than the library's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.ofa.cache import OFACache
from models.ofa.encoder import OFAEncoderOutput
from models.ofa.modeling_ofa import OFAForConditionalGeneration


class OFASteps:
    """See :class:`models.captioner.Steps`; the prefix passes the decoder once.

    Args:
        model: In evaluation mode.
        encoder_outputs: Of one picture.
        prefix: Token ids behind BOS.
        most: Tokens that come behind them.
    """

    def __init__(
        self, model: OFAForConditionalGeneration, encoder_outputs: OFAEncoderOutput, prefix: Sequence[int], most: int
    ) -> None:
        self._model, self._encoder_outputs = model, encoder_outputs
        self._cache, self._weight = OFACache(capacity=1 + len(prefix) + most), model.caption_projection()
        start = [model.config.decoder_start_token_id, *prefix]
        self.log_probs = self._look(torch.tensor([start], device=self._weight.device))

    def take(self, rows: Tensor, token_ids: Tensor) -> None:
        """Keep the state of the rows, in their number."""
        device = self._weight.device
        self._cache.reorder_cache(rows.to(device))
        self.log_probs = self._look(token_ids.to(device)[:, None])

    @torch.no_grad()
    def _look(self, tokens: Tensor) -> Tensor:
        hidden = self._model.decoder(tokens, self._encoder_outputs, self._cache)[:, -1]
        logits = F.linear(hidden, self._weight).float()
        logits[:, self._model.config.pad_token_id] = -torch.inf
        return logits.log_softmax(-1)
