"""OFA's encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.ofa import positions
from models.ofa.configuration_ofa import OFAConfig
from models.ofa.layers import OFAEncoderLayer
from models.ofa.position_bias import LateGradient, PositionBias
from models.ofa.resnet import ResNet
from models.vision.network import VisionNetwork
from models.vision.table import VisionDescription, build_vision


def _make_vision(config: OFAConfig) -> VisionNetwork:
    if config.vision is not None:
        return build_vision(cast(VisionDescription, config.vision))
    return ResNet(
        config.resnet_layers or (), config.resnet_width, config.resnet_stem_stride, config.resnet_drop_path_rate
    )


@dataclass(frozen=True)
class OFAEncoderOutput:
    """What the decoder needs of an image and its prompt.

    Attributes:
        last_hidden_state: (B, S, C); image tokens first, then the prompt.
        padding_mask: (B, S), True at padding; None if nothing is padded.
        position_embedding: (1, S, C), normalised, the same for all samples.
        embedding: (V, C), the token embedding, for an output projection that is tied to it.
    """

    last_hidden_state: Tensor
    padding_mask: Tensor | None
    position_embedding: Tensor
    embedding: Tensor


class OFAEncoder(PositionBias):
    """Image patches and prompt tokens to hidden states.

    Args:
        config: Shapes.
        embed_tokens: The embedding that encoder and decoder share.
        image_rp_bucket: Shared with the decoder; 25 MB at the published table size.
    """

    main_input_name = "input_ids"

    def __init__(self, config: OFAConfig, embed_tokens: nn.Embedding, image_rp_bucket: Tensor) -> None:
        super().__init__(config, config.encoder_attention_heads, config.encoder_layers, image_rp_bucket)
        width = config.d_model
        self.embed_tokens = embed_tokens
        self.type_embedding = nn.Embedding(2, width) if config.add_type_embedding else None
        self.embed_images = _make_vision(config)
        self.image_proj = nn.Linear(self.embed_images.out_channels, width)
        self.patch_layernorm_embedding = nn.LayerNorm(width) if config.patch_layernorm_embedding else None
        self.pos_q_linear = nn.Linear(width, width)
        self.pos_k_linear = nn.Linear(width, width)
        rates = torch.linspace(0, config.encoder_drop_path_rate, config.encoder_layers, device="cpu").tolist()
        self.layers = nn.ModuleList([OFAEncoderLayer(config, rate) for rate in rates])
        self.layer_norm = nn.LayerNorm(width) if config.encoder_normalize_before else None

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Token, type and norm of a prompt: (B, T) to (B, T, C)."""
        return self._finish_embedding(self.embed(input_ids), 0, self.layernorm_embedding)

    def embed_patches(self, features: Tensor, picture_rows: Tensor | None = None) -> Tensor:
        """Project features of the vision network (P, F, h, w) to image tokens (B, h * w, C), row by row."""
        hidden = self.embed_scale * self.image_proj(features.flatten(2).transpose(1, 2))
        if picture_rows is not None:
            hidden = hidden[picture_rows]
        return self._finish_embedding(hidden, 1, self.patch_layernorm_embedding)

    def _finish_embedding(self, hidden: Tensor, kind: int, norm: nn.LayerNorm | None) -> Tensor:
        if self.type_embedding is not None:
            hidden = hidden + self.type_embedding.weight[kind]
        if norm is not None:
            hidden = norm(hidden)
        return F.dropout(hidden, self.config.dropout, self.training)

    def image_positions(self, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Position ids (P,) and their embeddings (1, P, C) for an image of ``height`` x ``width`` patches."""
        bucket, device = self.config.image_bucket_size, self.token_rp_bucket.device
        ids = positions.image_position_ids(height, width, bucket, device)
        side = self.config.orig_patch_image_size // 16
        if not self.config.interpolate_position or height * width <= side**2:
            return ids, self.embed_image_positions(ids)[None]
        original = self.embed_image_positions(positions.image_position_ids(side, side, bucket, device))
        grid = original.T.reshape(1, -1, side, side)
        stretched = F.interpolate(grid, size=(height, width), mode="bilinear")
        return ids, stretched.flatten(2).transpose(1, 2)

    def relative_bias(self, table: int, image_rows: Tensor, length: int) -> Tensor:
        """Bias (1, H, S, S): a block for the image of rows (P, P) of the table, one for the text, zero between them."""
        text = self.token_relative_bias(table, length)
        patches = len(image_rows)
        if not patches:
            return text[None]
        image = self.image_rel_pos_table_list[table](image_rows).permute(2, 0, 1)
        return (F.pad(image, (0, length, 0, length)) + F.pad(text, (patches, 0, patches, 0)))[None]

    def forward(
        self,
        input_ids: Tensor,
        patch_images: Tensor | None = None,
        patch_masks: Tensor | None = None,
        image_features: Tensor | None = None,
        picture_rows: Tensor | None = None,
        **_: Any,
    ) -> OFAEncoderOutput:
        """Encode prompts and pictures.

        Args:
            input_ids: (B, T) with ``pad_token_id`` at the end of shorter prompts.
            patch_images: (P, 3, H, W), or None for text alone.
            patch_masks: (B,), False for samples without a picture; None means that all have one.
            image_features: (P, F, h, w) of ``embed_images``, instead of ``patch_images``.
            picture_rows: (B,), the picture of each sample; None if P = B and they are in order.

        Returns:
            Hidden states over image tokens, then text tokens.
        """
        length = input_ids.shape[1]
        self.check_length(length, "prompt")
        embedding = LateGradient.apply(self.embed_tokens.weight)  # before any look-up
        hidden = self.embed_text(input_ids)
        padding = input_ids.eq(self.config.pad_token_id)
        embedded_positions = self.pos_ln(self.embed_positions.weight[:length])[None]
        image_ids = padding.new_empty(0, dtype=torch.int64)
        if patch_images is not None and image_features is None:
            image_features = self.embed_images(patch_images)
        if image_features is not None:
            image_ids, image_positions = self.image_positions(*image_features.shape[-2:])
            hidden = torch.cat([self.embed_patches(image_features, picture_rows), hidden], dim=1)
            embedded_positions = torch.cat([self.image_pos_ln(image_positions), embedded_positions], dim=1)
            absent = torch.zeros_like(padding[:, :1]) if patch_masks is None else ~patch_masks.bool()[:, None]
            padding = torch.cat([absent.expand(-1, len(image_ids)), padding], dim=1)
        mask = padding if padding.any() else None
        if mask is not None:
            hidden = hidden.masked_fill(mask[..., None], 0.0)
        hidden = self._run_layers(hidden, embedded_positions, image_ids, length, mask)
        return OFAEncoderOutput(hidden, mask, embedded_positions, embedding)

    def _run_layers(
        self, hidden: Tensor, embedded_positions: Tensor, image_ids: Tensor, length: int, mask: Tensor | None
    ) -> Tensor:
        absolute = self.position_product(self.pos_q_linear, self.pos_k_linear, embedded_positions, embedded_positions)
        image_rows = self.image_rp_bucket[image_ids][:, image_ids]
        bias = absolute
        for index, layer in enumerate(self.layers):
            if index < len(self.token_rel_pos_table_list):  # with share_attn_bias the first one serves all layers
                bias = absolute + self.relative_bias(index, image_rows, length)
            hidden = layer(hidden, bias, mask)
        return hidden if self.layer_norm is None else self.layer_norm(hidden)
