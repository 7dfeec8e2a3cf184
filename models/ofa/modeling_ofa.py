"""OFA for captioning: one encoder over image patches and prompt tokens, one decoder.

Source: Wang et al. 2022, arXiv:2202.03052. Parameter names are those of ModelScope's checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import Seq2SeqLMOutput

from models.ofa import positions
from models.ofa.configuration_ofa import OFAConfig
from models.ofa.decoder import OFADecoder
from models.ofa.encoder import OFAEncoder, OFAEncoderOutput
from models.ofa.generation import OFACache, OFAGenerationMixin
from models.ofa.guidance import GuidedCache
from models.ofa.position_bias import PositionBias
from models.ofa.scoring import projected_log_probs
from preprocessors.collator import IGNORE_INDEX


@dataclass
class OFAOutput(Seq2SeqLMOutput):
    """What ``OFAForConditionalGeneration`` returns, beside the library's fields.

    Attributes:
        encoder_outputs: To be given to later calls about the same pictures.
        token_log_probs: (N, T), nats, of ``scored_ids``; 0 where nothing is scored.
    """

    encoder_outputs: OFAEncoderOutput | None = None
    token_log_probs: Tensor | None = None


class OFAPreTrainedModel(PreTrainedModel):
    """Loading, saving and initial values."""

    config_class = OFAConfig
    base_model_prefix = "ofa"
    main_input_name = "input_ids"
    _no_split_modules = ["OFAEncoderLayer", "OFADecoderLayer"]
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
        # Trainer compares what a checkpoint lacks with this list, and would warn of every tied weight.
        self._keys_to_ignore_on_save = [*self._keys_to_ignore_on_save, *self._tied_weights_keys]
        shared = nn.Embedding(config.vocab_size, config.d_model, config.pad_token_id)
        buckets = positions.image_buckets(config.image_bucket_size)
        self.encoder = OFAEncoder(config, shared, buckets)
        self.decoder = OFADecoder(config, shared, buckets)
        if named := self.named_vision_weights():
            self._keys_to_ignore_on_save += sorted(named)
            self._keys_to_ignore_on_load_missing = [*self._keys_to_ignore_on_load_missing, r"^encoder\.embed_images\."]
        self.post_init()
        self.generation_config = self._default_generation_config()

    def named_vision_weights(self) -> set[str]:
        """Parameters and buffers that a folder names and does not hold; those of a frozen vision network or none."""
        if self.config.vision is None or not self.config.vision["named"]:
            return set()
        return {f"encoder.embed_images.{name}" for name in self.encoder.embed_images.state_dict()}

    def tied_names(self) -> list[frozenset[str]]:
        """Names of one tensor, as a checkpoint may hold any or all of them."""
        return [frozenset({*self._tied_weights_keys, *self._tied_weights_keys.values()})]

    @property
    def projection_is_tied(self) -> bool:
        """Whether the output projection and the embedding are one parameter."""
        return self.decoder.output_projection.weight is self.encoder.embed_tokens.weight

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
        image_features: Tensor | None = None,
        picture_rows: Tensor | None = None,
        encode_only: bool = False,
        scored_ids: Tensor | None = None,
        temperature: float = 1.0,
        caption_rows: Tensor | None = None,
        wanted: Tensor | None = None,
        logits_to_keep: int = 0,
        return_dict: bool = True,
    ) -> OFAOutput:
        """Score captions.

        Args:
            input_ids: Prompts (B, T_prompt).
            patch_images: Pictures (P, 3, H, W), H and W multiples of the patch size.
            patch_masks: (B,), False for samples without a picture.
            decoder_input_ids: Caption tokens after BOS, (N, T); N = B * K, the K rows of an image next to each other.
            labels: (N, T) targets, ``-100`` or padding where nothing counts. Without ``decoder_input_ids`` the labels
                shifted to the right are the decoder's input.
            encoder_outputs: Of an earlier call, instead of prompts and pictures.
            past_key_values: Decoder state to continue from; a :class:`GuidedCache` guides the scores.
            use_cache: Return the decoder state.
            caption_logits: Only the first ``text_vocab_size`` logits, those a caption can be made of.
            image_features: Of the ResNet, (P, F, h, w), instead of pictures.
            picture_rows: (B,), the picture of each prompt; None if P = B and they are in order.
            encode_only: Stop after the encoder; only ``encoder_outputs`` are returned.
            scored_ids: (N, T), ``-100`` where nothing counts: return their log-probabilities among the tokens that a
                caption can be made of, instead of logits. The tokens are the decoder's input, shifted to the right.
            temperature: Divides the logits of ``scored_ids``.
            caption_rows: (N,) ascending, the image of each row of ``decoder_input_ids`` where images have different
                numbers of them.
            wanted: bool (N, T), True where logits are asked for; None for all. No labels are scored with it.
            logits_to_keep: Logits of so many positions, the last ones; 0 for all. ``generate`` asks for one.
            return_dict: Only True; a parameter because ``generate`` passes it.

        Returns:
            ``logits`` (N, T, V), or (M, V) of the M that are ``wanted``, ``loss`` (mean cross-entropy per counted
            token, nats; None without labels), ``encoder_last_hidden_state`` (B, S, C), ``past_key_values`` and what
            :class:`OFAOutput` adds.
        """
        self.encoder.sparse_rows = self.decoder.sparse_rows = self.projection_is_tied
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, patch_images, patch_masks, image_features, picture_rows)
        if encode_only:
            return OFAOutput(encoder_outputs=encoder_outputs)
        if scored_ids is not None:
            hidden = self.decoder(self.shift_right(scored_ids), encoder_outputs)
            scores = self._token_log_probs(hidden / temperature, scored_ids)
            return OFAOutput(encoder_outputs=encoder_outputs, token_log_probs=scores)
        if labels is not None:
            labels = labels.masked_fill(labels.eq(self.config.pad_token_id), IGNORE_INDEX)
        if decoder_input_ids is None:
            decoder_input_ids = self.shift_right(labels)
        if use_cache and past_key_values is None:
            past_key_values = OFACache(capacity=decoder_input_ids.shape[1])
        kept = slice(-logits_to_keep, None)  # from -0, all of them
        hidden = self.decoder(decoder_input_ids, encoder_outputs, past_key_values, caption_rows)[:, kept]
        weight = encoder_outputs.embedding if self.projection_is_tied else self.decoder.output_projection.weight
        weight = weight[: self.config.text_vocab_size] if caption_logits else weight
        logits = F.linear(hidden if wanted is None else hidden[wanted], weight)
        if isinstance(past_key_values, GuidedCache):
            neutral = self.decoder(decoder_input_ids, past_key_values.encoder_outputs, past_key_values.neutral)
            neutral = neutral[:, kept]
            logits = past_key_values.combine(logits, F.linear(neutral, weight))
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE_INDEX)
        return OFAOutput(
            loss=loss,
            logits=logits,
            past_key_values=past_key_values,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_outputs=encoder_outputs,
        )

    def _token_log_probs(self, hidden: Tensor, token_ids: Tensor) -> Tensor:
        counted = token_ids.ne(IGNORE_INDEX)
        weight = self.caption_projection()
        log_probs = projected_log_probs(hidden[counted], weight, token_ids[counted], self.config.pad_token_id)
        return log_probs.new_zeros(token_ids.shape).masked_scatter(counted, log_probs)

    def caption_projection(self) -> Tensor:
        """Output projection onto what a caption can be made of, (V, C), in the number format of the products.

        Under autocast it is converted here, once: a slice of a parameter would be converted again for every product.
        """
        weight = self.decoder.output_projection.weight[: self.config.text_vocab_size]
        device = weight.device.type
        return weight.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else weight

    def shift_right(self, labels: Tensor | None) -> Tensor:
        """Decoder inputs of targets (N, T): BOS, then the targets but the last; ``-100`` becomes padding."""
        if labels is None:
            raise ValueError("OFA needs decoder_input_ids or labels")
        start = labels.new_full((labels.shape[0], 1), self.config.decoder_start_token_id)
        shifted = torch.cat([start, labels[:, :-1]], dim=1)
        return shifted.masked_fill(shifted.eq(IGNORE_INDEX), self.config.pad_token_id)
