"""The library's beam search over captions that share their picture's row."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedConfig, PreTrainedModel
from transformers.generation import GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

from models.hf.growth import Growth, GuidedGrowth, only_drawable


class _Order:
    """What the library takes for a cache: only remembers which beams go on."""

    is_compileable = False

    def __init__(self) -> None:
        self.rows: Tensor | None = None

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Note the beams, int64 (N,)."""
        self.rows = beam_idx

    def get_seq_length(self) -> int:
        """Nothing that the library could leave out of its inputs."""
        return 0


class _Searched(PreTrainedModel, GenerationMixin):
    """A model without weights: its scores are those of a growth.

    Args:
        growth: With so many beginnings a picture as there are beams.
        drawable: bool (V',), True for what a caption can be made of.
    """

    config_class = PreTrainedConfig
    main_input_name = "input_ids"

    def __init__(self, growth: Growth | GuidedGrowth, drawable: Tensor) -> None:
        super().__init__(PreTrainedConfig())
        self._growth, self._drawable, self._begun = growth, drawable, False
        self.generation_config = GenerationConfig()

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return self._drawable.device

    def _prepare_cache_for_generation(self, generation_config: Any, model_kwargs: dict[str, Any], *_: Any) -> None:
        model_kwargs["past_key_values"] = _Order()

    def prepare_inputs_for_generation(self, input_ids: Tensor, past_key_values: _Order, **_: Any) -> dict[str, Any]:
        return {"input_ids": input_ids, "past_key_values": past_key_values}

    def forward(self, input_ids: Tensor, past_key_values: _Order, return_dict: bool = True) -> CausalLMOutputWithPast:
        """Scores (N, 1, V) behind the last tokens; the first time of what the growth began with."""
        if self._begun:
            rows = past_key_values.rows
            if rows is None:  # greedy search has one beam, which always goes on
                rows = torch.arange(len(input_ids), device=input_ids.device)
            self._growth.take(rows, input_ids[:, -1])
        self._begun = True
        logits = self._growth.logits
        scores = only_drawable(logits, self._drawable)
        # All columns, since rules name special tokens that may stand behind the drawable ones.
        scores = F.pad(scores, (0, logits.shape[-1] - scores.shape[-1]), value=-torch.inf)
        return CausalLMOutputWithPast(logits=scores[:, None], past_key_values=past_key_values)


def search(
    growth: Growth | GuidedGrowth,
    drawable: Tensor,
    start: Tensor,
    processors: LogitsProcessorList,
    options: dict[str, Any],
) -> Tensor:
    """The likeliest captions.

    Args:
        growth: With so many beginnings a picture as there are beams.
        drawable: bool (V',), True for what a caption can be made of.
        start: What the rules take captions to begin with, and the growth has seen, int64 (B, L), L at least 1.
        processors: Rules about next tokens.
        options: Arguments of ``generate``.

    Returns:
        int64 (B * K, T) with ``start``, padding behind EOS.
    """
    found: Tensor = _Searched(growth, drawable).generate(
        input_ids=start, logits_processor=processors, early_stopping=options["num_beams"] > 1, **options
    )
    return found
