"""Generation: what OFA needs beside ``transformers.GenerationMixin`` to decode fast and as fairseq does.

Beam search itself is the library's. With ``early_stopping=True`` it takes EOS only from the first K of 2K candidates,
normalises by the length with EOS and stops at K finished captions, which is what the reference does; pad and the
last position need rules of their own. The encoder and its keys and values are never repeated for beams or samples.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList
from transformers.generation import GenerationMixin, GenerationMode

from models.captioner import NextScores
from models.ofa.cache import OFACache
from utils.errors import NoNumbers

DEFAULT_MAX_LENGTH = 18
"""BOS, 16 caption tokens and EOS: what ModelScope's captioning pipeline decodes (``max_len_b`` 16)."""


@dataclass(frozen=True)
class CaptionRules(LogitsProcessor):
    """What the next token may be, in one pass over the scores.

    The library has a processor for each rule, and each copies the (N, V) scores; together they cost as much as the
    decoder. At the last position EOS is forced, and keeps what the model gave it, as in fairseq: the library's
    log-probability of 0 would make a cut caption look better than a finished one.

    Attributes:
        pad_token_id: Banned always.
        eos_token_id: Banned below ``min_length``.
        min_length: Fewest tokens of the sequence, BOS included, before EOS.
        max_length: Tokens of the whole sequence, BOS and EOS included.
        force_eos: Whether EOS is forced when ``max_length`` is reached.
        no_repeat_ngram_size: No n-gram of this length occurs twice in a sequence, BOS included; 0 is off.
        in_place: Whether the scores may be overwritten.
    """

    pad_token_id: int
    eos_token_id: int
    min_length: int
    max_length: int
    force_eos: bool
    no_repeat_ngram_size: int
    in_place: bool = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (N, V) for the token after ``input_ids`` (N, T)."""
        scores = scores if self.in_place else scores.clone()
        length = input_ids.shape[1]
        scores[:, self.pad_token_id] = -torch.inf
        if length < self.min_length:
            scores[:, self.eos_token_id] = -torch.inf
        if self.force_eos and length >= self.max_length - 1:
            kept = scores[:, self.eos_token_id].clone()
            scores.fill_(-torch.inf)
            scores[:, self.eos_token_id] = kept
        elif 0 < self.no_repeat_ngram_size <= length:
            ngrams = input_ids.unfold(1, self.no_repeat_ngram_size, 1)  # (N, windows, n)
            prefix = input_ids[:, None, length - self.no_repeat_ngram_size + 1 :]
            rows, windows = (ngrams[..., :-1] == prefix).all(-1).nonzero(as_tuple=True)
            scores[rows, ngrams[rows, windows, -1]] = -torch.inf
        return scores


class ScoreWatch(LogitsProcessor):
    """Remembers whether the best score of every row was a number at each step, without waiting for the device."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (N, V) as they are."""
        best = scores.amax().float()  # NaN if any score is
        self._total = best if self._total is None else self._total + best
        return scores

    def check(self) -> None:
        """Raise what captions of no numbers deserve.

        Raises:
            NoNumbers: If a score was NaN or infinite.
        """
        if self._total is not None and not bool(self._total.isfinite()):
            raise NoNumbers(
                "the scores of captions are NaN or infinite: a picture holds no numbers, or the model overflows on it"
            )


class Fused(LogitsProcessor):
    """Adds what another model says of the next token.

    Args:
        fusion: Of the captions without BOS.
    """

    def __init__(self, fusion: NextScores) -> None:
        self.fusion = fusion

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (N, V) with its own; what may not come stays at ``-inf``."""
        return scores + self.fusion(input_ids[:, 1:])[:, : scores.shape[1]]


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
