"""Generation: what OFA needs beside ``transformers.GenerationMixin`` to decode fast and as fairseq does.

Beam search itself is the library's. With ``early_stopping=True`` it takes EOS only from the first K of 2K candidates,
normalises by the length with EOS and stops at K finished captions, which is what the reference does; pad and the
last position need rules of their own. The encoder and its keys and values are never repeated for beams or samples.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation import GenerationMixin, GenerationMode

from models.ofa.cache import OFACache
from models.rules import CaptionRules

DEFAULT_MAX_LENGTH = 18
"""BOS, 16 caption tokens and EOS: what ModelScope's captioning pipeline decodes (``max_len_b`` 16)."""


class OFAGenerationMixin(GenerationMixin):
    """``generate`` for OFA: shared encoder rows, biases once per call, reference rules for EOS and padding."""

    def _default_generation_config(self) -> GenerationConfig:
        return GenerationConfig(
            bos_token_id=self.config.bos_token_id,
            eos_token_id=self.config.eos_token_id,
            pad_token_id=self.config.pad_token_id,
            decoder_start_token_id=self.config.decoder_start_token_id,
            forced_eos_token_id=self.config.forced_eos_token_id,
            max_length=DEFAULT_MAX_LENGTH,
            min_length=2,
            no_repeat_ngram_size=3,
        )

    def _prepare_generation_config(self, generation_config: GenerationConfig | None, **kwargs: Any) -> Any:
        given = generation_config or self.generation_config
        if (kwargs.get("num_beams") or given.num_beams or 1) > 1 and given.early_stopping is None:
            kwargs.setdefault("early_stopping", True)
        merged, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        if merged.output_attentions or merged.output_hidden_states:
            raise ValueError("output_attentions and output_hidden_states: OFA's fused attention keeps neither")
        return merged, model_kwargs

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = True, input_ids: Tensor | None = None, **kwargs: Any
    ) -> tuple[Tensor | None, dict[str, Any]]:
        if input_ids is not None:
            input_ids = input_ids.repeat_interleave(expand_size, dim=0)
        return input_ids, kwargs

    def _prepare_cache_for_generation(
        self,
        generation_config: GenerationConfig,
        model_kwargs: dict[str, Any],
        generation_mode: GenerationMode,
        batch_size: int,
        max_cache_length: int,
    ) -> None:
        cache = model_kwargs.get("past_key_values")
        if cache is not None and not isinstance(cache, OFACache):
            raise ValueError(f"past_key_values is a {type(cache).__name__}; OFA generates with an OFACache or none")
        if cache is None and generation_config.use_cache:
            model_kwargs["past_key_values"] = OFACache(capacity=max_cache_length + 1)

    def prepare_inputs_for_generation(
        self,
        input_ids: Tensor,
        next_sequence_length: int | None = None,
        past_key_values: OFACache | None = None,
        encoder_outputs: Any = None,
        use_cache: bool = True,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> dict[str, Any]:
        """Inputs of one decoding step; ``input_ids`` are the decoder's (N, T), a prefix in the first one."""
        if next_sequence_length is not None:
            input_ids = input_ids[:, -next_sequence_length:]
        return {
            "decoder_input_ids": input_ids,
            "encoder_outputs": encoder_outputs,
            "past_key_values": past_key_values,
            "use_cache": use_cache,
            "caption_logits": True,
            "logits_to_keep": logits_to_keep,
        }

    def _get_logits_processor(self, generation_config: GenerationConfig, **kwargs: Any) -> LogitsProcessorList:
        rules = CaptionRules(
            pad_token_id=self.config.pad_token_id,
            eos_token_id=self.config.eos_token_id,
            min_length=generation_config.min_length or 0,
            max_length=generation_config.max_length,
            force_eos=generation_config.forced_eos_token_id is not None,
            no_repeat_ngram_size=generation_config.no_repeat_ngram_size or 0,
            in_place=not generation_config.output_logits,  # in greedy search they are the same tensor
        )
        others = copy.copy(generation_config)
        others.forced_eos_token_id, others.min_length, others.no_repeat_ngram_size = None, 0, 0
        processors = super()._get_logits_processor(others, **kwargs)
        processors.insert(0, rules)
        return processors
