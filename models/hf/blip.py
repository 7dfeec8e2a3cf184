"""BLIP: a vision transformer, and a text decoder that attends to it and goes on from a prompt.

Source:
    Li et al. 2022, arXiv:2201.12086. The network is ``transformers.BlipForConditionalGeneration``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers import BlipConfig, BlipForConditionalGeneration, DynamicCache, EncoderDecoderCache

from models.captioner import Captioner, Limits, VisionInfo
from models.hf.bounds import BLIP as FIELDS
from models.hf.captioner import TransformersCaptioner
from models.hf.family import Family
from models.hf.folder import check_ids, load_network, read_fields, vision_of
from models.hf.network import CaptionNetwork, EncodedPictures, library_mask
from models.hf.tokenizer import FamilyTokenizer
from models.hf.word_pieces import open_word_pieces
from models.weights import opening

CLASS_NAME = "BlipForConditionalGeneration"
LARGEST = 2
"""Times the size that the vision network was made for: positions are stretched over larger pictures."""


class BlipNetwork(CaptionNetwork, BlipForConditionalGeneration):
    """The prompt is what the decoder begins with, BOS first; its own ``generate`` is not used.

    That one puts BOS over the first token of a prompt and takes the last one away, since its processor frames a prompt
    as an encoder wants it. Here a prompt's EOS is left out where it is read.
    """

    config: Any
    vision_model: Any
    text_decoder: Any
    _no_split_modules = ["BlipEncoderLayer", "BlipTextLayer"]

    def vision_network(self) -> nn.Module:
        """The vision transformer."""
        vision: nn.Module = self.vision_model
        return vision

    def look(self, patch_images: Tensor) -> Tensor:
        """Pictures to the states of all patches and the class token, (P, F, 1, 1 + patches)."""
        side = self.config.vision_config.image_size
        stretched = tuple(patch_images.shape[-2:]) != (side, side)
        states: Tensor = self.vision_model(patch_images, interpolate_pos_encoding=stretched).last_hidden_state
        return states.transpose(1, 2).unsqueeze(2)

    def read(self, input_ids: Tensor, features: Tensor | None, patch_masks: Tensor | None) -> EncodedPictures:
        """A row without a picture beside others with one attends to zeros."""
        text = self.config.text_config
        mask = input_ids.ne(text.pad_token_id) & input_ids.ne(text.sep_token_id)
        prefix = self.embed(input_ids)
        if features is None:
            return EncodedPictures(prefix, mask)
        context = features.squeeze(2).transpose(1, 2).to(prefix.dtype)
        return EncodedPictures(
            prefix, mask, context if patch_masks is None else context * patch_masks[:, None, None].to(context.dtype)
        )

    def embed(self, token_ids: Tensor) -> Tensor:
        """Of the decoder."""
        embedded: Tensor = self.text_decoder.get_input_embeddings()(token_ids)
        return embedded

    def decode(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, encoded: EncodedPictures, cache: Any
    ) -> Tensor:
        """A pass of the text decoder, whose attention is the library's own always."""
        hidden: Tensor = self.text_decoder.bert(
            inputs_embeds=embeddings.clone(),  # the library adds positions in place
            position_ids=positions,
            attention_mask=library_mask(mask, embeddings, "eager"),
            encoder_hidden_states=encoded.context,
            past_key_values=cache,
            use_cache=cache is not None,
            is_decoder=True,
        ).last_hidden_state
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """With the head's own layer before the projection."""
        logits: Tensor = self.text_decoder.cls(hidden)
        return logits

    def new_cache(self) -> EncoderDecoderCache:
        """Of tokens, and of the picture's keys and values."""
        return EncoderDecoderCache(DynamicCache(), DynamicCache())


def _open(folder: Path) -> tuple[BlipNetwork, FamilyTokenizer, VisionInfo]:
    fields = read_fields(folder, FIELDS, CLASS_NAME)
    with opening(folder, "configuration (config.json)"):
        config = BlipConfig(**fields)
    text = config.text_config
    ids = {name: getattr(text, name) for name in ("bos_token_id", "sep_token_id", "pad_token_id")}
    check_ids(folder, ids, text.vocab_size)
    vision = vision_of(folder, config.vision_config.image_size)
    bos, eos, pad = ids.values()
    tokenizer = open_word_pieces(folder, bos=bos, eos=eos, pad=pad, entries=text.vocab_size)
    return load_network(folder, BlipNetwork, config), tokenizer, vision


def _parts(network: BlipNetwork) -> Mapping[str, Sequence[nn.Module]]:
    decoder = network.text_decoder
    return {
        "vision_stages": [*network.vision_model.encoder.layers],
        "embeddings": [decoder.get_input_embeddings(), decoder.get_output_embeddings()],
        "decoder": [decoder],
    }


def _limits(config: BlipConfig) -> Limits:
    """Prompt and caption share the decoder's positions, half of them each."""
    vision = config.vision_config
    return Limits(vision.patch_size, LARGEST * vision.image_size, (_positions(config) - 2) // 2)


def _positions(config: BlipConfig) -> int:
    return int(config.text_config.max_position_embeddings)


class BlipCaptioner(TransformersCaptioner):
    """BLIP behind the interface."""

    family = Family(
        name="BLIP",
        class_name=CLASS_NAME,
        open=_open,
        parts=_parts,
        text_model=lambda network: network.text_decoder,
        limits=_limits,
        positions=_positions,
        processor=lambda config, size: {
            "image_processor_type": "BlipImageProcessor",
            "processor_class": "BlipProcessor",
            "size": {"height": size, "width": size},
        },
        tokenizer={"tokenizer_class": "BertTokenizer", "do_lower_case": True},
        lora_targets=r"text_decoder\.bert\.encoder\.layer\.\d+\.(attention|crossattention)\.self\.(query|value)",
        style="the prompt is the beginning that the decoder goes on from; its tokens are not scored",
        licence="BSD-3-Clause (Salesforce)",
    )


if TYPE_CHECKING:
    _: type[Captioner] = BlipCaptioner  # what the table opens by name is checked here
