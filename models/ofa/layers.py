"""Encoder and decoder layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.activations import ACT2FN

from models.ofa.attention import CaptionSlots, OFAAttention
from models.ofa.resnet import drop_path

if TYPE_CHECKING:
    from models.ofa.cache import OFACache
    from models.ofa.configuration_ofa import OFAConfig


class OFALayer(nn.Module):
    """What encoder and decoder layers share: self-attention, feed-forward, NormFormer's norms, residuals.

    Args:
        config: Shapes and rates.
        heads: Attention heads.
        ffn_dim: Inner width of the feed-forward network.
        normalize_before: Pre-norm (published) or post-norm.
        drop_path_rate: Stochastic depth of this layer.
    """

    def __init__(
        self, config: OFAConfig, heads: int, ffn_dim: int, normalize_before: bool, drop_path_rate: float
    ) -> None:
        super().__init__()
        width = config.d_model
        self.normalize_before = normalize_before
        self.dropout, self.activation_dropout = config.dropout, config.activation_dropout
        self.drop_path_rate = drop_path_rate
        self.activation = ACT2FN[config.activation_function]
        self.self_attn = OFAAttention(width, heads, config.attn_scale_factor, config.attention_dropout)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn_mid_layer_norm = nn.LayerNorm(width) if config.normformer else None
        self.fc1 = nn.Linear(width, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, width)
        self.ffn_layer_norm = nn.LayerNorm(ffn_dim) if config.normformer else None
        self.final_layer_norm = nn.LayerNorm(width)

    def residual(
        self, hidden: Tensor, norm: nn.LayerNorm, middle_norm: nn.LayerNorm | None, block: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Apply a block with its norms, dropout and residual connection to (B, T, C)."""
        branch = block(norm(hidden) if self.normalize_before else hidden)
        if middle_norm is not None:
            branch = middle_norm(branch)
        branch = F.dropout(branch, self.dropout, self.training)
        hidden = hidden + drop_path(branch, self.drop_path_rate, self.training)
        return hidden if self.normalize_before else norm(hidden)

    def feed_forward(self, hidden: Tensor) -> Tensor:
        """Position-wise network with its residual, on (B, T, C)."""

        def block(normed: Tensor) -> Tensor:
            inner = self.activation(self.fc1(normed))
            inner = F.dropout(inner, self.activation_dropout, self.training)
            return self.fc2(inner if self.ffn_layer_norm is None else self.ffn_layer_norm(inner))

        return self.residual(hidden, self.final_layer_norm, None, block)


class OFAEncoderLayer(OFALayer):
    """Self-attention over image and text tokens, then the feed-forward network."""

    def __init__(self, config: OFAConfig, drop_path_rate: float) -> None:
        heads, ffn_dim = config.encoder_attention_heads, config.encoder_ffn_dim
        super().__init__(config, heads, ffn_dim, config.encoder_normalize_before, drop_path_rate)

    def forward(self, hidden: Tensor, bias: Tensor, padding: Tensor | None) -> Tensor:
        """Map (B, S, C) to (B, S, C) under a bias (1, H, S, S) and a padding mask (B, S)."""

        def attention(normed: Tensor) -> Tensor:
            return self.self_attn(normed, *self.self_attn.key_value(normed), bias, padding)

        hidden = self.residual(hidden, self.self_attn_layer_norm, self.self_attn_mid_layer_norm, attention)
        return self.feed_forward(hidden)


class OFADecoderLayer(OFALayer):
    """Causal self-attention, attention to the encoder, then the feed-forward network."""

    def __init__(self, config: OFAConfig, index: int, drop_path_rate: float) -> None:
        heads, ffn_dim = config.decoder_attention_heads, config.decoder_ffn_dim
        super().__init__(config, heads, ffn_dim, config.decoder_normalize_before, drop_path_rate)
        width = config.d_model
        self.index = index
        self.cross_attn = OFAAttention(width, heads, config.attn_scale_factor, config.attention_dropout)
        self.cross_attn_layer_norm = nn.LayerNorm(width)
        self.cross_attn_mid_layer_norm = nn.LayerNorm(width) if config.normformer else None

    def forward(
        self,
        hidden: Tensor,
        encoder_hidden: Tensor,
        self_bias: Tensor,
        cross_bias: Tensor,
        encoder_padding: Tensor | None,
        cache: OFACache | None,
        slots: CaptionSlots | None = None,
    ) -> Tensor:
        """Map (N, T, C) to (N, T, C).

        Args:
            hidden: Decoder states, N = B * K rows.
            encoder_hidden: (B, S, C); rows are shared by the K decoder rows of an image.
            self_bias: (1, H, T, P + T) with the causal mask in it, P tokens in the cache.
            cross_bias: (1, H, T, S).
            encoder_padding: (B, S), True at padding, or None.
            cache: Keys and values of earlier steps; None in training.
            slots: Of decoder rows that are not K for every image.

        Returns:
            New decoder states.
        """

        def self_attention(normed: Tensor) -> Tensor:
            key, value = self.self_attn.key_value(normed)
            if cache is not None:
                key, value = cache.self_attention_cache.update(key, value, self.index)
            return self.self_attn(normed, key, value, self_bias)

        def cross_attention(normed: Tensor) -> Tensor:
            key_value = None if cache is None else cache.cross_key_values.get(self.index)
            if key_value is None:
                key_value = self.cross_attn.key_value(encoder_hidden)
                if cache is not None:
                    cache.cross_key_values[self.index] = key_value
            return self.cross_attn(normed, *key_value, cross_bias, encoder_padding, slots)

        hidden = self.residual(hidden, self.self_attn_layer_norm, self.self_attn_mid_layer_norm, self_attention)
        hidden = self.residual(hidden, self.cross_attn_layer_norm, self.cross_attn_mid_layer_norm, cross_attention)
        return self.feed_forward(hidden)
