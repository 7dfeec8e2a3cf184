"""What encoder and decoder share: position biases and the look-up of tokens."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.ofa import positions
from models.ofa.configuration_ofa import OFAConfig


class LateGradient(torch.autograd.Function):
    """A weight whose dense gradient arrives after the sparse ones of look-ups that follow.

    Autograd runs the newest node first, and adds a dense gradient to waiting sparse ones in place. The other way round
    each sparse one costs a copy of the dense: 61 MB per look-up at the published vocabulary.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor) -> Tensor:
        """The weight itself."""
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """The gradient as a tensor of its own, which nobody else holds once this returns."""
        return gradients[0].detach()


class PositionBias(nn.Module):
    """What encoder and decoder share: token look-up, norms of positions, relative tables. A base class, not a layer.

    Attributes:
        sparse_rows: Whether looking tokens up gives a sparse gradient. The model says so where the output projection
            has the same weight: its gradient is dense anyway, and the few rows looked up are added to it. A dense
            gradient of their own would cost 60 MB and as much zeroing per look-up at the published vocabulary.
    """

    token_rp_bucket: Tensor
    image_rp_bucket: Tensor
    embed_tokens: nn.Embedding

    def __init__(self, config: OFAConfig, heads: int, layers: int, image_rp_bucket: Tensor) -> None:
        super().__init__()
        self.config = config
        self.heads = heads
        self.scale = (config.d_model / heads * config.attn_scale_factor) ** -0.5
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        width, bucket = config.d_model, config.image_bucket_size
        self.sparse_rows = False
        self.embed_positions = nn.Embedding(config.max_position_embeddings + 2, width)
        self.embed_image_positions = nn.Embedding(bucket**2 + 1, width)
        self.pos_ln = nn.LayerNorm(width)
        self.image_pos_ln = nn.LayerNorm(width)
        self.layernorm_embedding = nn.LayerNorm(width) if config.layernorm_embedding else None
        tables = 1 if config.share_attn_bias else layers
        self.token_rel_pos_table_list = nn.ModuleList(
            [nn.Embedding(2 * config.token_bucket_size - 1, heads) for _ in range(tables)]
        )
        self.image_rel_pos_table_list = nn.ModuleList(
            [nn.Embedding(positions.image_relative_positions(bucket), heads) for _ in range(tables)]
        )
        self.register_buffer(
            "token_rp_bucket", positions.token_buckets(config.token_bucket_size, config.max_position_embeddings)
        )
        self.register_buffer("image_rp_bucket", image_rp_bucket)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Look tokens up and scale them: (B, T) to (B, T, C)."""
        table = self.embed_tokens
        # Not the table's own ``padding_idx``, which is the same: a table with adapters has a weight and nothing else.
        rows = F.embedding(token_ids, table.weight, self.config.pad_token_id, sparse=self.sparse_rows)
        return self.embed_scale * rows

    def position_product(self, q_linear: nn.Linear, k_linear: nn.Linear, query: Tensor, key: Tensor) -> Tensor:
        """Bias (1, H, T, S) of absolute positions (1, T, C) and (1, S, C)."""
        q = q_linear(query).unflatten(-1, (self.heads, -1)).transpose(1, 2) * self.scale
        k = k_linear(key).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return q @ k.transpose(-1, -2)

    def check_length(self, length: int, what: str) -> None:
        """Refuse texts that the position tables do not cover."""
        if length > self.config.max_position_embeddings:
            limit = self.config.max_position_embeddings
            raise ValueError(f"the {what} has {length} tokens; max_position_embeddings={limit} is the most")

    def token_relative_bias(self, table: int, length: int) -> Tensor:
        """Bias (H, T, T) between text tokens."""
        rows = self.token_rp_bucket[:length, :length]
        return self.token_rel_pos_table_list[table](rows).permute(2, 0, 1)
