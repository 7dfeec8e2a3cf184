"""Florence-2: a vision network of windows and channels in front of BART's encoder and decoder.

Source:
    Xiao et al. 2023, arXiv:2311.06242. The network is ``transformers.Florence2ForConditionalGeneration``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    Florence2Config,
    Florence2ForConditionalGeneration,
)

from models.captioner import Captioner, Limits, VisionInfo
from models.hf.bounds import FLORENCE2 as FIELDS
from models.hf.byte_pairs import SpecialTokens, open_byte_pairs
from models.hf.captioner import TransformersCaptioner
from models.hf.family import Family
from models.hf.folder import check_ids, load_network, read_fields, vision_of
from models.hf.network import CaptionNetwork, EncodedPictures, library_mask
from models.hf.tokenizer import FamilyTokenizer
from models.weights import opening

CLASS_NAME = "Florence2ForConditionalGeneration"
TOKENS = SpecialTokens("<s>", "</s>", "<pad>", "<mask>")
NATIVE_SIZE = 768
"""Pixels, of the published checkpoints, where a processor says nothing."""
TEXT_SHARE = 4
"""Of the encoder's positions one in so many is for text, and the others for a picture."""


class Florence2Network(CaptionNetwork, Florence2ForConditionalGeneration):
    """Picture and prompt pass BART's encoder together; captions begin behind its start token and BOS.

    The published models were trained with BOS as the first word of every answer.
    """

    config: Any
    model: Any
    lm_head: Any
    _no_split_modules = ["BartEncoderLayer", "BartDecoderLayer", "Florence2VisionBlock"]

    def vision_network(self) -> nn.Module:
        """Before its projection."""
        vision: nn.Module = self.model.vision_tower
        return vision

    def look(self, patch_images: Tensor) -> Tensor:
        """Pictures to a grid of features."""
        features: Tensor = self.model.vision_tower(patch_images).last_hidden_state
        return features

    def read(self, input_ids: Tensor, features: Tensor | None, patch_masks: Tensor | None) -> EncodedPictures:
        """The encoder's states of the picture, then of the prompt."""
        text = self.config.text_config
        embeddings, mask = self.model.language_model.shared(input_ids), input_ids.ne(text.pad_token_id)
        if features is not None:
            picture = self.model.multi_modal_projector(features.to(embeddings.dtype))
            shown = mask.new_ones(picture.shape[:2])
            shown = shown if patch_masks is None else shown & patch_masks[:, None]
            embeddings, mask = torch.cat([picture, embeddings], 1), torch.cat([shown, mask], 1)
        encoder = self.model.language_model.encoder
        states = encoder(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state
        begun = input_ids.new_tensor([text.decoder_start_token_id, text.bos_token_id]).expand(len(input_ids), 2)
        return EncodedPictures(self.embed(begun), mask.new_ones(begun.shape), states, mask)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Of the decoder."""
        embedded: Tensor = self.model.language_model.decoder.embed_tokens(token_ids)
        return embedded

    def decode(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, encoded: EncodedPictures, cache: Any
    ) -> Tensor:
        """Through BART's layers: its decoder as a whole counts positions from the columns of its cache."""
        decoder = self.model.language_model.decoder
        hidden = embeddings + decoder.embed_positions(None, position_ids=positions)[0]
        hidden = F.dropout(decoder.layernorm_embedding(hidden), decoder.dropout, decoder.training)
        implementation = decoder.config._attn_implementation
        assert encoded.context_mask is not None
        context_mask = encoded.context_mask[:, None].expand(-1, mask.shape[1], -1)
        own, other = (library_mask(one, hidden, implementation) for one in (mask, context_mask))
        for layer in decoder.layers:
            hidden = layer(
                hidden, own, encoded.context, encoder_attention_mask=other, past_key_values=cache, use_cache=True
            )
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Onto the embedding."""
        logits: Tensor = self.lm_head(hidden)
        return logits

    def new_cache(self) -> EncoderDecoderCache:
        """Of tokens, and of the encoder's keys and values."""
        return EncoderDecoderCache(DynamicCache(), DynamicCache())


def _open(folder: Path) -> tuple[Florence2Network, FamilyTokenizer, VisionInfo]:
    fields = read_fields(folder, FIELDS, CLASS_NAME)
    with opening(folder, "configuration (config.json)"):
        config = Florence2Config(**fields)
        lists = {name: len(value) for name, value in fields["vision_config"].items() if isinstance(value, list)}
        if len({*lists.values()}) > 1:
            raise ValueError(f"vision_config: its stages have different numbers ({lists})")
    text = config.text_config
    names = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    check_ids(folder, {name: getattr(text, name) for name in names}, text.vocab_size)
    vision = vision_of(folder, NATIVE_SIZE)
    ids = {"<s>": text.bos_token_id, "</s>": text.eos_token_id, "<pad>": text.pad_token_id}
    tokenizer = open_byte_pairs(folder, TOKENS, ids, entries=text.vocab_size, framed=True)
    return load_network(folder, Florence2Network, config), tokenizer, vision


def _parts(network: Florence2Network) -> Mapping[str, Sequence[nn.Module]]:
    vision = network.model.vision_tower
    stages = zip(vision.convs, vision.blocks, strict=True)
    return {
        "vision_stages": [nn.ModuleList(stage) for stage in stages],
        "embeddings": [network.model.language_model.shared, network.lm_head],
        "decoder": [network.model.language_model.decoder],
    }


def _limits(config: Florence2Config) -> Limits:
    """A picture takes a position for each cell of its grid, and one for their mean."""
    vision, positions = config.vision_config, _positions(config)
    text = positions // TEXT_SHARE
    side = min(math.isqrt(positions - text - 3), vision.max_position_embeddings)
    stride = math.prod(vision.patch_stride)
    return Limits(stride, side * stride, text)


def _positions(config: Florence2Config) -> int:
    return int(config.text_config.max_position_embeddings)


class Florence2Captioner(TransformersCaptioner):
    """Florence-2 behind the interface."""

    family = Family(
        name="Florence-2",
        class_name=CLASS_NAME,
        open=_open,
        parts=_parts,
        text_model=lambda network: network,
        limits=_limits,
        positions=_positions,
        processor=lambda config, size: {
            "image_processor_type": "CLIPImageProcessor",
            "processor_class": "Florence2Processor",
            "size": {"height": size, "width": size},
            "do_center_crop": False,
        },
        tokenizer={"tokenizer_class": "BartTokenizer", "extra_special_tokens": {"image_token": "<image>"}},
        lora_targets=r"model\.language_model\.(encoder|decoder)\.layers\.\d+\.(self_attn|encoder_attn)\.[qv]_proj",
        style="the prompt passes the encoder behind the picture, as its task's sentence does",
        licence="MIT (Microsoft)",
    )


if TYPE_CHECKING:
    _: type[Captioner] = Florence2Captioner  # what the table opens by name is checked here
