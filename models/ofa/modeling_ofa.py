"""OFA for captioning: one encoder over image patches and prompt tokens, one decoder.

Source: Wang et al. 2022, arXiv:2202.03052. Parameter names are those of ModelScope's checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import Seq2SeqLMOutput

from models.ofa import positions
from models.ofa.configuration_ofa import OFAConfig
from models.ofa.generation import OFACache, OFAGenerationMixin
from models.ofa.layers import OFADecoderLayer, OFAEncoderLayer
from models.ofa.resnet import ResNet

IGNORE_INDEX = -100


@dataclass(frozen=True)
class OFAEncoderOutput:
    """What the decoder needs of an image and its prompt.

    Attributes:
        last_hidden_state: (B, S, C); image tokens first, then the prompt.
        padding_mask: (B, S), True at padding; None if nothing is padded.
        position_embedding: (1, S, C), normalised, the same for all samples.
    """

    last_hidden_state: Tensor
    padding_mask: Tensor | None
    position_embedding: Tensor


class DecoderPositions(NamedTuple):
    """Position biases of the decoder, the same for every sample.

    Attributes:
        self_biases: One (1, H, T, T) per layer, the causal mask included; one in all if layers share it.
        cross_bias: (1, H, T, S), the same in every layer.
    """

    self_biases: list[Tensor]
    cross_bias: Tensor


def embed(token_ids: Tensor, table: nn.Embedding, tied: bool) -> Tensor:
    """Look tokens up: (B, T) to (B, T, C).

    Where the output projection shares the table its gradient is dense anyway, and the few rows looked up are added
    to it; a dense gradient of its own would cost 60 MB and as much zeroing per lookup at the published vocabulary.

    Args:
        token_ids: (B, T).
        table: The embedding.
        tied: Whether the output projection has the same weight.
    """
    return F.embedding(token_ids, table.weight, table.padding_idx, sparse=tied)


class PositionBias(nn.Module):
    """What encoder and decoder share: norms of positions and relative tables. A base class, not a layer."""

    token_rp_bucket: Tensor
    image_rp_bucket: Tensor

    def __init__(self, config: OFAConfig, heads: int, layers: int, image_rp_bucket: Tensor) -> None:
        super().__init__()
        self.config = config
        self.heads = heads
        self.scale = (config.d_model / heads * config.attn_scale_factor) ** -0.5
        self.embed_scale = math.sqrt(config.d_model) if config.scale_embedding else 1.0
        width, bucket = config.d_model, config.image_bucket_size
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
        self.embed_images = ResNet(
            config.resnet_layers or (), config.resnet_width, config.resnet_stem_stride, config.resnet_drop_path_rate
        )
        self.image_proj = nn.Linear(self.embed_images.out_channels, width)
        self.patch_layernorm_embedding = nn.LayerNorm(width) if config.patch_layernorm_embedding else None
        self.pos_q_linear = nn.Linear(width, width)
        self.pos_k_linear = nn.Linear(width, width)
        rates = torch.linspace(0, config.encoder_drop_path_rate, config.encoder_layers, device="cpu").tolist()
        self.layers = nn.ModuleList([OFAEncoderLayer(config, rate) for rate in rates])
        self.layer_norm = nn.LayerNorm(width) if config.encoder_normalize_before else None

    def embed_text(self, input_ids: Tensor) -> Tensor:
        """Token, type and norm of a prompt: (B, T) to (B, T, C)."""
        hidden = self.embed_scale * embed(input_ids, self.embed_tokens, self.config.share_decoder_input_output_embed)
        return self._finish_embedding(hidden, 0, self.layernorm_embedding)

    def embed_patches(self, features: Tensor) -> Tensor:
        """Project ResNet features (B, F, h, w) to image tokens (B, h * w, C), row by row."""
        hidden = self.embed_scale * self.image_proj(features.flatten(2).transpose(1, 2))
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

    def relative_bias(self, table: int, image_ids: Tensor, length: int) -> Tensor:
        """Bias (1, H, S, S): a block for the image, a block for the text, zero between them."""
        text = self.token_relative_bias(table, length)
        patches = len(image_ids)
        if not patches:
            return text[None]
        rows = self.image_rp_bucket[image_ids][:, image_ids]
        image = self.image_rel_pos_table_list[table](rows).permute(2, 0, 1)
        return (F.pad(image, (0, length, 0, length)) + F.pad(text, (patches, 0, patches, 0)))[None]

    def forward(
        self,
        input_ids: Tensor,
        patch_images: Tensor | None = None,
        patch_masks: Tensor | None = None,
        image_features: Tensor | None = None,
        **_: Any,
    ) -> OFAEncoderOutput:
        """Encode prompts and pictures.

        Args:
            input_ids: (B, T) with ``pad_token_id`` at the end of shorter prompts.
            patch_images: (B, 3, H, W), or None for text alone.
            patch_masks: (B,), False for samples without a picture; None means that all have one.
            image_features: (B, F, h, w) of ``embed_images``, instead of ``patch_images``.

        Returns:
            Hidden states over image tokens, then text tokens.
        """
        length = input_ids.shape[1]
        self.check_length(length, "prompt")
        hidden = self.embed_text(input_ids)
        padding = input_ids.eq(self.config.pad_token_id)
        embedded_positions = self.pos_ln(self.embed_positions.weight[:length])[None]
        image_ids = padding.new_empty(0, dtype=torch.int64)
        if patch_images is not None and image_features is None:
            image_features = self.embed_images(patch_images)
        if image_features is not None:
            image_ids, image_positions = self.image_positions(*image_features.shape[-2:])
            hidden = torch.cat([self.embed_patches(image_features), hidden], dim=1)
            embedded_positions = torch.cat([self.image_pos_ln(image_positions), embedded_positions], dim=1)
            absent = torch.zeros_like(padding[:, :1]) if patch_masks is None else ~patch_masks[:, None]
            padding = torch.cat([absent.expand(-1, len(image_ids)), padding], dim=1)
        mask = padding if padding.any() else None
        if mask is not None:
            hidden = hidden.masked_fill(mask[..., None], 0.0)
        hidden = self._run_layers(hidden, embedded_positions, image_ids, length, mask)
        return OFAEncoderOutput(hidden, mask, embedded_positions)

    def _run_layers(
        self, hidden: Tensor, embedded_positions: Tensor, image_ids: Tensor, length: int, mask: Tensor | None
    ) -> Tensor:
        absolute = self.position_product(self.pos_q_linear, self.pos_k_linear, embedded_positions, embedded_positions)
        bias = absolute
        for index, layer in enumerate(self.layers):
            if index < len(self.token_rel_pos_table_list):  # with share_attn_bias the first one serves all layers
                bias = absolute + self.relative_bias(index, image_ids, length)
            hidden = layer(hidden, bias, mask)
        return hidden if self.layer_norm is None else self.layer_norm(hidden)


class OFADecoder(PositionBias):
    """Caption tokens to hidden states and logits.

    ``embed_image_positions``, ``image_pos_ln``, ``code_layernorm_embedding`` and the image tables serve image
    generation in the reference; here they are kept so that checkpoints stay complete, and never used.
    """

    image_position_idx: Tensor

    def __init__(self, config: OFAConfig, embed_tokens: nn.Embedding, image_rp_bucket: Tensor) -> None:
        super().__init__(config, config.decoder_attention_heads, config.decoder_layers, image_rp_bucket)
        width = config.d_model
        self.embed_tokens = embed_tokens
        self.code_layernorm_embedding = nn.LayerNorm(width) if config.code_layernorm_embedding else None
        self.self_pos_q_linear = nn.Linear(width, width)
        self.self_pos_k_linear = nn.Linear(width, width)
        self.cross_pos_q_linear = nn.Linear(width, width)
        self.cross_pos_k_linear = nn.Linear(width, width)
        rates = torch.linspace(0, config.decoder_drop_path_rate, config.decoder_layers, device="cpu").tolist()
        self.layers = nn.ModuleList([OFADecoderLayer(config, index, rate) for index, rate in enumerate(rates)])
        self.layer_norm = nn.LayerNorm(width) if config.decoder_normalize_before else None
        self.output_projection = nn.Linear(width, config.vocab_size, bias=False)
        self.register_buffer(
            "image_position_idx",
            positions.code_image_position_ids(config.code_image_size, config.image_bucket_size),
        )

    def position_biases(self, length: int, encoder_positions: Tensor) -> DecoderPositions:
        """Biases of the first ``length`` caption positions against themselves and (1, S, C) encoder positions."""
        self.check_length(length, "caption")
        own = self.pos_ln(self.embed_positions.weight[:length])[None]
        absolute = self.position_product(self.self_pos_q_linear, self.self_pos_k_linear, own, own)
        cross = self.position_product(self.cross_pos_q_linear, self.cross_pos_k_linear, own, encoder_positions)
        future = torch.ones(length, length, dtype=torch.bool, device=own.device).triu(1)
        floor = torch.finfo(absolute.dtype).min
        biases = [
            (absolute + self.token_relative_bias(table, length)).masked_fill(future, floor)
            for table in range(len(self.token_rel_pos_table_list))
        ]
        return DecoderPositions(biases, cross)

    def forward(
        self, decoder_input_ids: Tensor, encoder_outputs: OFAEncoderOutput, cache: OFACache | None = None
    ) -> Tensor:
        """Decode (N, T) tokens against B encoder rows, N = B * K.

        Args:
            decoder_input_ids: Tokens after those in the cache. Padding at the end needs no mask: nothing before it
                can see it.
            encoder_outputs: Of B images.
            cache: Keys and values of earlier tokens; extended in place.

        Returns:
            (N, T, C), normalised, ready for the output projection.
        """
        length = decoder_input_ids.shape[1]
        past = 0 if cache is None else cache.get_seq_length()
        if cache is None:
            biases = self.position_biases(length, encoder_outputs.position_embedding)
        else:
            if cache.positions is None:
                capacity = max(cache.capacity, past + length)
                cache.positions = self.position_biases(capacity, encoder_outputs.position_embedding)
            biases = cache.positions
        span = slice(past, past + length)
        cross_bias = biases.cross_bias[:, :, span]
        tied = self.config.share_decoder_input_output_embed
        hidden = self.embed_scale * embed(decoder_input_ids, self.embed_tokens, tied)
        if self.layernorm_embedding is not None:
            hidden = self.layernorm_embedding(hidden)
        hidden = F.dropout(hidden, self.config.dropout, self.training)
        encoder_hidden, mask = encoder_outputs.last_hidden_state, encoder_outputs.padding_mask
        for index, layer in enumerate(self.layers):
            table = 0 if self.config.share_attn_bias else index
            self_bias = biases.self_biases[table][:, :, span, : past + length]
            hidden = layer(hidden, encoder_hidden, self_bias, cross_bias, mask, cache)
        return hidden if self.layer_norm is None else self.layer_norm(hidden)


class OFAPreTrainedModel(PreTrainedModel):
    """Loading, saving and initial values."""

    config_class = OFAConfig
    base_model_prefix = "ofa"
    main_input_name = "input_ids"
    _supports_sdpa = True
    _keys_to_ignore_on_load_missing = [r"rp_bucket$", r"image_position_idx$"]  # they follow from the config
    _keys_to_ignore_on_save = [
        f"{side}.{name}" for side in ("encoder", "decoder") for name in ("token_rp_bucket", "image_rp_bucket")
    ] + ["decoder.image_position_idx"]

    @classmethod
    def from_pretrained(cls, *args: Any, dtype: torch.dtype | str = torch.float32, **kwargs: Any) -> Any:
        """Open a folder; weights become float32 unless asked otherwise, since a captioner is opened to be trained.

        Decoding starts from OFA's captioning defaults: the lengths and penalties in a published ``config.json`` are
        library defaults of its day, which nobody chose.
        """
        loaded = super().from_pretrained(*args, dtype=dtype, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.generation_config = model._default_generation_config()
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """BERT's normal values, OFA's zero relative tables, He's values for convolutions; buffers by formula."""
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif not isinstance(module, PositionBias):
            super()._init_weights(module)
            if hasattr(module, "c_attn"):
                init.ones_(module.c_attn)
        else:
            config = self.config
            for table in (*module.token_rel_pos_table_list, *module.image_rel_pos_table_list):
                init.zeros_(table.weight)
            tokens = positions.token_buckets(config.token_bucket_size, config.max_position_embeddings)
            init.copy_(module.token_rp_bucket, tokens)
            init.copy_(module.image_rp_bucket, positions.image_buckets(config.image_bucket_size))
            if isinstance(module, OFADecoder):
                ids = positions.code_image_position_ids(config.code_image_size, config.image_bucket_size)
                init.copy_(module.image_position_idx, ids)


class OFAForConditionalGeneration(OFAPreTrainedModel, OFAGenerationMixin):
    """OFA with its language-model head.

    Args:
        config: An ``OFAConfig``.
    """

    def __init__(self, config: OFAConfig) -> None:
        super().__init__(config)
        self._tied_weights_keys = {"decoder.embed_tokens.weight": "encoder.embed_tokens.weight"}
        if config.share_decoder_input_output_embed:
            self._tied_weights_keys["decoder.output_projection.weight"] = "encoder.embed_tokens.weight"
        shared = nn.Embedding(config.vocab_size, config.d_model, config.pad_token_id)
        buckets = positions.image_buckets(config.image_bucket_size)
        self.encoder = OFAEncoder(config, shared, buckets)
        self.decoder = OFADecoder(config, shared, buckets)
        self.post_init()
        self.generation_config = self._default_generation_config()

    def get_input_embeddings(self) -> nn.Embedding:
        """The embedding of prompts and captions, (V, C)."""
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the embedding on both sides."""
        self.encoder.embed_tokens = self.decoder.embed_tokens = value

    def get_output_embeddings(self) -> nn.Linear:
        """The output projection, tied to the embedding in every published checkpoint."""
        return self.decoder.output_projection

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the output projection."""
        self.decoder.output_projection = value

    def forward(
        self,
        input_ids: Tensor | None = None,
        patch_images: Tensor | None = None,
        patch_masks: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        encoder_outputs: OFAEncoderOutput | None = None,
        past_key_values: OFACache | None = None,
        use_cache: bool = False,
        caption_logits: bool = False,
        return_dict: bool = True,
    ) -> Seq2SeqLMOutput:
        """Score captions.

        Args:
            input_ids: Prompts (B, T_prompt).
            patch_images: Pictures (B, 3, H, W), H and W multiples of the patch size.
            patch_masks: (B,), False for samples without a picture.
            decoder_input_ids: Caption tokens after BOS, (N, T); N = B * K, the K rows of an image next to each other.
            labels: (N, T) targets, ``-100`` or padding where nothing counts. Without ``decoder_input_ids`` the labels
                shifted to the right are the decoder's input.
            encoder_outputs: Of an earlier call, instead of prompts and pictures.
            past_key_values: Decoder state to continue from.
            use_cache: Return the decoder state.
            caption_logits: Only the first ``text_vocab_size`` logits, those a caption can be made of.
            return_dict: Only True; a parameter because ``generate`` passes it.

        Returns:
            ``logits`` (N, T, V), ``loss`` (mean cross-entropy per counted token, nats; None without labels),
            ``encoder_last_hidden_state`` (B, S, C) and ``past_key_values``.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, patch_images, patch_masks)
        if labels is not None:
            labels = labels.masked_fill(labels.eq(self.config.pad_token_id), IGNORE_INDEX)
        if decoder_input_ids is None:
            decoder_input_ids = self._shift_right(labels)
        if use_cache and past_key_values is None:
            past_key_values = OFACache(capacity=decoder_input_ids.shape[1])
        hidden = self.decoder(decoder_input_ids, encoder_outputs, past_key_values)
        weight = self.decoder.output_projection.weight
        logits = F.linear(hidden, weight[: self.config.text_vocab_size] if caption_logits else weight)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE_INDEX)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=past_key_values,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
        )

    def _shift_right(self, labels: Tensor | None) -> Tensor:
        if labels is None:
            raise ValueError("OFA needs decoder_input_ids or labels")
        start = labels.new_full((labels.shape[0], 1), self.config.decoder_start_token_id)
        shifted = torch.cat([start, labels[:, :-1]], dim=1)
        return shifted.masked_fill(shifted.eq(IGNORE_INDEX), self.config.pad_token_id)
