"""OFA's decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.ofa import positions
from models.ofa.attention import caption_slots
from models.ofa.cache import DecoderPositions, OFACache
from models.ofa.configuration_ofa import OFAConfig
from models.ofa.encoder import OFAEncoderOutput
from models.ofa.layers import OFADecoderLayer
from models.ofa.position_bias import PositionBias


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
        self,
        decoder_input_ids: Tensor,
        encoder_outputs: OFAEncoderOutput,
        cache: OFACache | None = None,
        caption_rows: Tensor | None = None,
    ) -> Tensor:
        """Decode (N, T) tokens against B encoder rows, N = B * K unless ``caption_rows`` says otherwise.

        Args:
            decoder_input_ids: Tokens after those in the cache. Padding at the end needs no mask: nothing before it
                can see it.
            encoder_outputs: Of B images.
            cache: Keys and values of earlier tokens; extended in place.
            caption_rows: The encoder row of each decoder row, int64 (N,), ascending; None for K next to each other.

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
        hidden = self.embed(decoder_input_ids)
        if self.layernorm_embedding is not None:
            hidden = self.layernorm_embedding(hidden)
        hidden = F.dropout(hidden, self.config.dropout, self.training)
        encoder_hidden, mask = encoder_outputs.last_hidden_state, encoder_outputs.padding_mask
        slots = None if caption_rows is None else caption_slots(caption_rows, len(encoder_hidden))
        for index, layer in enumerate(self.layers):
            table = 0 if self.config.share_attn_bias else index
            self_bias = biases.self_biases[table][:, :, span, : past + length]
            hidden = layer(hidden, encoder_hidden, self_bias, cross_bias, mask, cache, slots)
        return hidden if self.layer_norm is None else self.layer_norm(hidden)
