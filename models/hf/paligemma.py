"""PaliGemma, versions 1 and 2: SigLIP's patches and a prompt that see each other, and a Gemma that goes on from them.

Source:
    Beyer et al. 2024, arXiv:2407.07726; Steiner et al. 2024, arXiv:2412.03555. The network is
    ``transformers.PaliGemmaForConditionalGeneration``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PaliGemmaConfig, PaliGemmaForConditionalGeneration

from models.captioner import Captioner, Limits, VisionInfo
from models.hf.bounds import PALIGEMMA as FIELDS
from models.hf.captioner import TransformersCaptioner
from models.hf.family import Family
from models.hf.folder import check_ids, load_network, read_fields, vision_of
from models.hf.network import CaptionNetwork, EncodedPictures, library_mask
from models.hf.spaced_pairs import open_spaced_pairs
from models.hf.tokenizer import FamilyTokenizer
from models.weights import opening

CLASS_NAME = "PaliGemmaForConditionalGeneration"
OLDER_NAMES = {
    "language_model.model.": "model.language_model.",
    "language_model.lm_head.": "lm_head.",
    "model.vision_tower.vision_model.": "model.vision_tower.",
    "vision_tower.vision_model.": "model.vision_tower.",
    "vision_tower.": "model.vision_tower.",
    "multi_modal_projector.": "model.multi_modal_projector.",
}
"""Of weights as they were published, and as the library writes them still."""
END_OF_PROMPT = "\n"
LEAST_TEXT = 32
"""Tokens of a prompt or caption, below which a model is not opened."""


class PaliGemmaNetwork(CaptionNetwork, PaliGemmaForConditionalGeneration):
    """A picture stands before BOS, and an end of line where other models have the prompt's EOS.

    Attributes:
        end_of_prompt: Its token, given by who opens a folder.
    """

    config: Any
    model: Any
    lm_head: Any
    _no_split_modules = ["GemmaDecoderLayer", "Gemma2DecoderLayer", "SiglipEncoderLayer"]
    prefix_is_causal = False
    end_of_prompt: int

    def vision_network(self) -> nn.Module:
        """Before the projector."""
        vision: nn.Module = self.model.vision_tower
        return vision

    def look(self, patch_images: Tensor) -> Tensor:
        """Pictures to a grid of patches; positions are stretched over a picture of another size."""
        vision, side = self.config.vision_config, patch_images.shape[-1]
        stretched = side != vision.image_size
        states: Tensor = self.model.vision_tower(patch_images, interpolate_pos_encoding=stretched).last_hidden_state
        features: Tensor = states.transpose(1, 2).unflatten(2, (-1, side // vision.patch_size))
        return features

    def read(self, input_ids: Tensor, features: Tensor | None, patch_masks: Tensor | None) -> EncodedPictures:
        """A row without a picture beside others with one has zeros for patches."""
        text = self.config.text_config
        mask = input_ids.ne(text.pad_token_id)
        prompt = self.embed(input_ids.masked_fill(input_ids.eq(text.eos_token_id), self.end_of_prompt))
        if features is None:
            return EncodedPictures(prompt, mask)
        patches = self.model.multi_modal_projector(features.flatten(2).transpose(1, 2).to(prompt.dtype))
        patches = patches if patch_masks is None else patches * patch_masks[:, None, None].to(patches.dtype)
        return EncodedPictures(torch.cat([patches, prompt], 1), torch.cat([mask.new_ones(patches.shape[:2]), mask], 1))

    def embed(self, token_ids: Tensor) -> Tensor:
        """Of the language model, which scales them; patches are not."""
        embedded: Tensor = self.model.language_model.embed_tokens(token_ids)
        return embedded

    def decode(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, encoded: EncodedPictures, cache: Any
    ) -> Tensor:
        """A pass of the language model, which counts positions from 1.

        Gemma 2's layers that see a window only see all: no row is longer than it, see :func:`_positions`.
        """
        model = self.model.language_model
        added = library_mask(mask, embeddings, model.config._attn_implementation)
        kinds = getattr(model.config, "layer_types", None)
        hidden: Tensor = model(
            inputs_embeds=embeddings,
            position_ids=positions + 1,
            attention_mask=dict.fromkeys(kinds, added) if kinds else added,
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Onto the vocabulary; Gemma 2's logits are bent so that they stay within a bound."""
        logits: Tensor = self.lm_head(hidden)
        bound = getattr(self.config.text_config, "final_logit_softcapping", None)
        return logits if bound is None else (logits / bound).tanh() * bound

    def new_cache(self) -> DynamicCache:
        """Of tokens and patches."""
        return DynamicCache()


def _open(folder: Path) -> tuple[PaliGemmaNetwork, FamilyTokenizer, VisionInfo]:
    fields = read_fields(folder, FIELDS, CLASS_NAME)
    fields["vision_config"]["vision_use_head"] = False
    with opening(folder, "configuration (config.json)"):
        config = PaliGemmaConfig(**fields)
    if fault := _fault_of(config):
        raise ValueError(f"{folder / 'config.json'}: {fault}")
    text, size = config.text_config, config.vision_config.image_size
    ids = {"<bos>": text.bos_token_id, "<eos>": text.eos_token_id, "<pad>": text.pad_token_id}
    check_ids(folder, ids, text.vocab_size)
    vision = vision_of(folder, size)
    if vision.image_size > size:  # of a run with smaller pictures it is smaller
        raise ValueError(
            f"{folder}: its processor makes pictures of {vision.image_size} pixels and its vision network was made for "
            f"{size}; copy preprocessor_config.json and config.json from one model"
        )
    tokenizer = open_spaced_pairs(folder, ids, entries=text.vocab_size)
    network = load_network(folder, PaliGemmaNetwork, config, OLDER_NAMES)
    (network.end_of_prompt,) = tokenizer.encode_text(END_OF_PROMPT)
    return network, tokenizer, vision


def _fault_of(config: Any) -> str | None:
    """What the library would find out while it captions."""
    text, vision = config.text_config, config.vision_config
    if config.projection_dim != text.hidden_size:
        return f"projection_dim={config.projection_dim} must be text_config.hidden_size={text.hidden_size}"
    if vision.image_size % vision.patch_size:
        return f"vision_config.image_size={vision.image_size} must be a multiple of patch_size={vision.patch_size}"
    if _limits(config).text_length < LEAST_TEXT:
        return (
            f"a picture of {vision.image_size} pixels is {_patches(config):,} tokens, and the language model sees "
            f"{_positions(config):,}: no room for text. Use the model of a smaller picture"
        )
    return None


def _parts(network: Any) -> Mapping[str, Sequence[nn.Module]]:
    return {
        "vision_stages": [*network.model.vision_tower.encoder.layers],
        "embeddings": [network.get_input_embeddings(), network.lm_head],
        "decoder": [network.model.language_model],
    }


def _limits(config: Any) -> Limits:
    """Prompt and caption share what a picture leaves of the positions, half of it each."""
    vision = config.vision_config
    return Limits(vision.patch_size, vision.image_size, (_positions(config) - _patches(config) - 2) // 2)


def _patches(config: Any) -> int:
    """Tokens of a picture at its largest."""
    return int(config.vision_config.image_size // config.vision_config.patch_size) ** 2


def _positions(config: Any) -> int:
    """Of Gemma 2 those of a window: some of its layers see no further."""
    text = config.text_config
    return int(min(text.max_position_embeddings, getattr(text, "sliding_window", None) or torch.inf))


class PaliGemmaCaptioner(TransformersCaptioner):
    """PaliGemma behind the interface."""

    family = Family(
        name="PaliGemma",
        class_name=CLASS_NAME,
        open=_open,
        parts=_parts,
        text_model=lambda network: network,
        limits=_limits,
        positions=_positions,
        processor=lambda config, size: {
            "image_processor_type": "SiglipImageProcessor",
            "processor_class": "PaliGemmaProcessor",
            "size": {"height": size, "width": size},
            "image_seq_length": (size // config.vision_config.patch_size) ** 2,
        },
        lora_targets=r"model\.language_model\.layers\.\d+\.self_attn\.[qv]_proj",
        tokenizer={"tokenizer_class": "GemmaTokenizer", "extra_special_tokens": {"image_token": "<image>"}},
        style="picture and prompt are the prefix, which sees itself as a whole; the caption is the suffix",
        licence="Gemma Terms of Use (Google)",
    )


if TYPE_CHECKING:
    _: type[Captioner] = PaliGemmaCaptioner  # what the table opens by name is checked here
