"""What may stand in ``config.json`` of transformers' captioners, see :mod:`models.bounds`; the rest is left out."""

from __future__ import annotations

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # of pydantic, which takes no other before Python 3.12
    Required,
)

from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from models.bounds import STRICT, Blocks, Heads, InnerWidth, Layers, Pixels, Rate, TokenId, Vocabulary, Width, Word

LearnedPositions = Annotated[int, Field(ge=1, le=8192)]
"""A table with a row for each, which stands among the weights. Published: 512 and 1,024."""
Epsilon = Annotated[float, Field(gt=0, le=1)]
Spread = Annotated[float, Field(ge=0, le=10)]
"""Of weights at random, which are never used."""
Theta = Annotated[float, Field(ge=1, le=1e9)]
"""Published: 10,000 to 1,000,000."""


@with_config(STRICT)
class BlipTextFields(TypedDict, total=False):
    """``text_config`` of a BLIP model."""

    vocab_size: Vocabulary
    hidden_size: Width
    intermediate_size: InnerWidth
    num_hidden_layers: Layers
    num_attention_heads: Heads
    max_position_embeddings: LearnedPositions
    hidden_act: Word
    layer_norm_eps: Epsilon
    hidden_dropout_prob: Rate
    attention_probs_dropout_prob: Rate
    initializer_range: Spread
    bos_token_id: TokenId
    pad_token_id: TokenId
    sep_token_id: TokenId
    is_decoder: Literal[True]


@with_config(STRICT)
class BlipVisionFields(TypedDict, total=False):
    """``vision_config`` of a BLIP model."""

    hidden_size: Width
    intermediate_size: InnerWidth
    num_hidden_layers: Layers
    num_attention_heads: Heads
    image_size: Pixels
    patch_size: Pixels
    hidden_act: Word
    layer_norm_eps: Epsilon
    attention_dropout: Rate
    initializer_range: Spread


@with_config(STRICT)
class BlipFields(TypedDict):
    """``config.json`` of a BLIP model; what its other heads have is left out."""

    text_config: BlipTextFields
    vision_config: BlipVisionFields


Stages = Annotated[list[Annotated[int, Field(ge=1, le=1024)]], Field(min_length=1, max_length=8)]
"""Of a vision network, a number for each. Published: four."""


@with_config(STRICT)
class BartFields(TypedDict, total=False):
    """``text_config`` of a Florence-2 model."""

    model_type: Required[Literal["bart"]]
    vocab_size: Vocabulary
    max_position_embeddings: LearnedPositions
    encoder_layers: Layers
    encoder_ffn_dim: InnerWidth
    encoder_attention_heads: Heads
    decoder_layers: Layers
    decoder_ffn_dim: InnerWidth
    decoder_attention_heads: Heads
    activation_function: Word
    d_model: Width
    dropout: Rate
    attention_dropout: Rate
    activation_dropout: Rate
    init_std: Spread
    scale_embedding: bool
    pad_token_id: TokenId
    bos_token_id: TokenId
    eos_token_id: TokenId
    decoder_start_token_id: TokenId


@with_config(STRICT)
class DaViTFields(TypedDict, total=False):
    """``vision_config`` of a Florence-2 model."""

    depths: Annotated[list[Blocks], Field(min_length=1, max_length=8)]
    patch_size: Stages
    patch_stride: Annotated[list[Annotated[int, Field(ge=1, le=16)]], Field(min_length=1, max_length=8)]
    patch_padding: Annotated[list[Annotated[int, Field(ge=0, le=64)]], Field(min_length=1, max_length=8)]
    patch_prenorm: Annotated[list[bool], Field(min_length=1, max_length=8)]
    embed_dim: Annotated[list[Width], Field(min_length=1, max_length=8)]
    num_heads: Annotated[list[Heads], Field(min_length=1, max_length=8)]
    num_groups: Annotated[list[Heads], Field(min_length=1, max_length=8)]
    window_size: Annotated[int, Field(ge=1, le=64)]
    """Features are filled up to whole windows. Published: 12."""
    drop_path_rate: Rate
    mlp_ratio: Annotated[float, Field(gt=0, le=16)]
    qkv_bias: bool
    activation_function: Word
    projection_dim: Width
    max_temporal_embeddings: Annotated[int, Field(ge=1, le=1024)]
    max_position_embeddings: Annotated[int, Field(ge=1, le=128)]
    initializer_range: Spread


@with_config(STRICT)
class Florence2Fields(TypedDict):
    """``config.json`` of a Florence-2 model."""

    text_config: BartFields
    vision_config: DaViTFields
    image_token_id: NotRequired[TokenId]


@with_config(STRICT)
class RopeFields(TypedDict, total=False):
    """``rope_parameters`` of a Llama: nothing that stretches them."""

    rope_type: Literal["default"]
    rope_theta: Theta


class _RotaryFields(TypedDict, total=False):
    """What language models have whose positions are turned."""

    vocab_size: Vocabulary
    hidden_size: Width
    intermediate_size: InnerWidth
    num_hidden_layers: Layers
    num_attention_heads: Heads
    max_position_embeddings: Annotated[int, Field(ge=1, le=1_000_000)]
    """They are turned, and no table is made of them."""
    initializer_range: Spread
    rms_norm_eps: Epsilon
    rope_theta: Theta
    rope_parameters: RopeFields
    attention_bias: bool
    attention_dropout: Rate
    pad_token_id: TokenId
    bos_token_id: TokenId


@with_config(STRICT)
class LlamaFields(_RotaryFields, total=False):
    """``text_config`` of a SmolVLM or Idefics3 model."""

    model_type: Required[Literal["llama"]]
    num_key_value_heads: Heads | None
    head_dim: Annotated[int, Field(ge=1, le=1024)] | None
    hidden_act: Word
    mlp_bias: bool


@with_config(STRICT)
class SiglipFields(TypedDict, total=False):
    """``vision_config`` of a SmolVLM, Idefics3 or PaliGemma model."""

    hidden_size: Width
    intermediate_size: InnerWidth
    num_hidden_layers: Layers
    num_attention_heads: Heads
    image_size: Pixels
    patch_size: Pixels
    hidden_act: Word
    layer_norm_eps: Epsilon
    attention_dropout: Rate
    initializer_range: Spread


@with_config(STRICT)
class SmolVLMFields(TypedDict):
    """``config.json`` of a SmolVLM or Idefics3 model."""

    text_config: LlamaFields
    vision_config: SiglipFields
    image_token_id: TokenId
    scale_factor: Annotated[int, Field(ge=1, le=16)]
    tie_word_embeddings: NotRequired[bool]


@with_config(STRICT)
class PaliGemmaVisionFields(SiglipFields):
    """``vision_config`` of a PaliGemma model; what pools a picture is never used."""

    model_type: Required[Literal["siglip_vision_model"]]


class _GemmaFields(_RotaryFields, total=False):
    """What both versions of Gemma have."""

    num_key_value_heads: Heads
    head_dim: Annotated[int, Field(ge=1, le=1024)]
    eos_token_id: TokenId


@with_config(STRICT)
class GemmaFields(_GemmaFields, total=False):
    """``text_config`` of the first PaliGemma."""

    model_type: Required[Literal["gemma"]]
    hidden_act: Word


Cap = Annotated[float, Field(ge=1, le=1e4)]
"""Scores and logits are bent to stay within it. Published: 50 and 30."""


@with_config(STRICT)
class Gemma2Fields(_GemmaFields, total=False):
    """``text_config`` of PaliGemma 2."""

    model_type: Required[Literal["gemma2"]]
    hidden_activation: Word
    query_pre_attn_scalar: Annotated[int, Field(ge=1, le=16_384)]
    sliding_window: Annotated[int, Field(ge=1, le=1_000_000)] | None
    layer_types: Annotated[list[Literal["sliding_attention", "full_attention"]], Field(min_length=1, max_length=128)]
    attn_logit_softcapping: Cap | None
    final_logit_softcapping: Cap | None


@with_config(STRICT)
class PaliGemmaFields(TypedDict):
    """``config.json`` of a PaliGemma model."""

    text_config: Annotated[GemmaFields | Gemma2Fields, Field(discriminator="model_type")]
    vision_config: PaliGemmaVisionFields
    projection_dim: Width
    image_token_index: NotRequired[TokenId]


BLIP: TypeAdapter[Any] = TypeAdapter(BlipFields)
FLORENCE2: TypeAdapter[Any] = TypeAdapter(Florence2Fields)
SMOLVLM: TypeAdapter[Any] = TypeAdapter(SmolVLMFields)
PALIGEMMA: TypeAdapter[Any] = TypeAdapter(PaliGemmaFields)
