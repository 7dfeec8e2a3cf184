"""SmolVLM and Idefics3: a vision transformer whose patches stand among the tokens of a language model.

Source:
    Marafioti et al. 2025, arXiv:2504.05299; Laurençon et al. 2024, arXiv:2408.12637. The networks are
    ``transformers.SmolVLMForConditionalGeneration`` and ``Idefics3ForConditionalGeneration``, which are made alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from models.captioner import Captioner, Limits, VisionInfo
from models.hf.bounds import SMOLVLM as FIELDS
from models.hf.byte_pairs import SpecialTokens, open_byte_pairs
from models.hf.captioner import TransformersCaptioner
from models.hf.family import Family
from models.hf.folder import check_ids, check_picture_slot, load_network, read_fields, vision_of
from models.hf.network import CaptionNetwork, EncodedPictures, library_mask
from models.hf.tokenizer import FamilyTokenizer
from models.weights import opening

TOKENS = SpecialTokens("<|im_start|>", "<end_of_utterance>", "<|im_end|>", None)
PICTURE = "<image>"
AROUND, WHOLE_PICTURE = "<fake_token_around_image>", "<global-img>"
BEFORE, ANSWER, CAPTION_START = "User:", "\nAssistant:", " "


class Template(NamedTuple):
    """Token ids of the conversation that the models were trained on, around picture and prompt.

    Attributes:
        before: Behind BOS.
        opening: Before the patches of a picture.
        closing: Behind them.
        answer: Behind the prompt and its EOS; a caption follows.
    """

    before: list[int]
    opening: list[int]
    closing: list[int]
    answer: list[int]

    @property
    def length(self) -> int:
        """Tokens of all."""
        return sum(map(len, self))


class _PatchesAmongTokens(CaptionNetwork):
    """The network of both families; the picture is one square, never cut into several.

    Attributes:
        template: Given by who opens a folder.
    """

    config: Any
    model: Any
    lm_head: Any
    _no_split_modules = ["LlamaDecoderLayer", "SmolVLMEncoderLayer", "Idefics3EncoderLayer"]
    template: Template

    def vision_network(self) -> nn.Module:
        """Before the connector."""
        vision: nn.Module = self.model.vision_model
        return vision

    def look(self, patch_images: Tensor) -> Tensor:
        """Pictures to a grid of patches."""
        states: Tensor = self.model.vision_model(patch_images).last_hidden_state
        side = patch_images.shape[-1] // self.config.vision_config.patch_size
        return states.transpose(1, 2).unflatten(2, (-1, side))

    def read(self, input_ids: Tensor, features: Tensor | None, patch_masks: Tensor | None) -> EncodedPictures:
        """A row without a picture beside others with one has zeros for patches."""
        template, pad = self.template, self.config.text_config.pad_token_id
        ids, mask = _followed_by(input_ids[:, 1:], template.answer, pad)
        parts = [self._embed_all([int(input_ids[0, 0]), *template.before], input_ids)]
        if features is not None:
            states = features.flatten(2).transpose(1, 2).to(parts[0].dtype).contiguous()  # the library views it
            patches = self.model.connector(states)
            patches = patches if patch_masks is None else patches * patch_masks[:, None, None].to(patches.dtype)
            opening, closing = (self._embed_all(part, input_ids) for part in (template.opening, template.closing))
            parts += [opening, patches, closing]
        stands = torch.cat([mask.new_ones(len(mask), sum(part.shape[1] for part in parts)), mask], 1)
        return EncodedPictures(torch.cat([*parts, self.embed(ids)], 1), stands)

    def _embed_all(self, token_ids: Sequence[int], rows: Tensor) -> Tensor:
        return self.embed(rows.new_tensor([*token_ids]).expand(len(rows), -1))

    def embed(self, token_ids: Tensor) -> Tensor:
        """Of the language model."""
        embedded: Tensor = self.model.text_model.get_input_embeddings()(token_ids)
        return embedded

    def decode(
        self, embeddings: Tensor, positions: Tensor, mask: Tensor, encoded: EncodedPictures, cache: Any
    ) -> Tensor:
        """A pass of the language model."""
        model = self.model.text_model
        hidden: Tensor = model(
            inputs_embeds=embeddings,
            position_ids=positions,
            attention_mask=library_mask(mask, embeddings, model.config._attn_implementation),
            past_key_values=cache,
            use_cache=cache is not None,
        ).last_hidden_state
        return hidden

    def project(self, hidden: Tensor) -> Tensor:
        """Onto the vocabulary."""
        logits: Tensor = self.lm_head(hidden)
        return logits

    def new_cache(self) -> DynamicCache:
        """Of tokens and patches."""
        return DynamicCache()


class SmolVLMNetwork(_PatchesAmongTokens, SmolVLMForConditionalGeneration):
    """SmolVLM, versions 2 and later."""


class Idefics3Network(_PatchesAmongTokens, Idefics3ForConditionalGeneration):
    """Idefics3, and SmolVLM before version 2."""


def _followed_by(ids: Tensor, behind: Sequence[int], pad: int) -> tuple[Tensor, Tensor]:
    """Rows (B, S) filled up on the right with tokens behind each: ids (B, S + A), and True where there is one."""
    lengths = ids.ne(pad).sum(1, keepdim=True)
    places = lengths + torch.arange(len(behind), device=ids.device)
    whole = torch.cat([ids, ids.new_full((len(ids), len(behind)), pad)], 1)
    whole = whole.scatter(1, places, ids.new_tensor([*behind]).expand(len(ids), -1))
    return whole, torch.arange(whole.shape[1], device=ids.device) < lengths + len(behind)


def _opener(network: Any, config_class: Any) -> Callable[[Path], tuple[Any, FamilyTokenizer, VisionInfo]]:
    def open_folder(folder: Path) -> tuple[Any, FamilyTokenizer, VisionInfo]:
        fields = read_fields(folder, FIELDS, config_class.__name__.replace("Config", "ForConditionalGeneration"))
        with opening(folder, "configuration (config.json)"):
            config = config_class(**fields)
            if config.vision_config.image_size % _cell(config):
                raise ValueError(f"vision_config.image_size must be a multiple of {_cell(config)}")
        text = config.text_config
        ids = {TOKENS.bos: text.bos_token_id, TOKENS.pad: text.pad_token_id}
        check_ids(folder, ids, text.vocab_size)
        check_picture_slot(folder, PICTURE)
        vision = vision_of(folder, config.vision_config.image_size)
        vision = vision._replace(image_size=config.vision_config.image_size)  # its processor names the longest edge
        tokenizer = open_byte_pairs(
            folder, TOKENS, ids, entries=text.vocab_size, digits_alone=True, caption_start=CAPTION_START
        )
        opened = load_network(folder, network, config)
        opened.template = _template(folder, tokenizer)
        return opened, tokenizer, vision

    return open_folder


def _template(folder: Path, tokenizer: FamilyTokenizer) -> Template:
    if absent := [token for token in (AROUND, WHOLE_PICTURE) if tokenizer.library.token_to_id(token) is None]:
        raise ValueError(f"{folder}: its tokenizer has no {absent[0]}, which stands beside pictures. Copy it again.")
    around, whole = tokenizer.id_of(AROUND), tokenizer.id_of(WHOLE_PICTURE)
    before, answer = (tokenizer.encode_text(text) for text in (BEFORE, ANSWER))
    return Template(before, [around, whole], [around], answer)


def _cell(config: Any) -> int:
    """Pixels a side of what becomes one place among the tokens."""
    return int(config.vision_config.patch_size * config.scale_factor)


def _parts(network: Any) -> Mapping[str, Sequence[nn.Module]]:
    return {
        "vision_stages": [*network.model.vision_model.encoder.layers],
        "embeddings": [network.get_input_embeddings(), network.lm_head],
        "decoder": [network.model.text_model],
    }


def _limits(config: Any) -> Limits:
    """A picture and the template come off the positions, of which prompt and caption have half each."""
    side, cell = config.vision_config.image_size, _cell(config)
    return Limits(cell, side, (_positions(config) - (side // cell) ** 2 - TEMPLATE_TOKENS) // 2)


TEMPLATE_TOKENS = 32
"""More than a template has."""


def _positions(config: Any) -> int:
    return int(config.text_config.max_position_embeddings)


def _family(name: str, network: Any, config_class: Any, licence: str) -> Family:
    kind = config_class.__name__.removesuffix("Config")
    return Family(
        name=name,
        class_name=f"{kind}ForConditionalGeneration",
        open=_opener(network, config_class),
        parts=_parts,
        text_model=lambda model: model,
        limits=_limits,
        positions=_positions,
        processor=lambda config, size: {
            "image_processor_type": f"{kind}ImageProcessor",
            "processor_class": f"{kind}Processor",
            "do_image_splitting": False,
            "size": {"longest_edge": size},
            "max_image_size": {"longest_edge": size},
        },
        tokenizer={"tokenizer_class": "GPT2Tokenizer"},
        lora_targets=r"model\.text_model\.layers\.\d+\.self_attn\.[qv]_proj",
        style="the prompt is what the user says in the conversation, behind the picture; the caption is the answer",
        licence=licence,
    )


class SmolVLMCaptioner(TransformersCaptioner):
    """SmolVLM behind the interface."""

    family = _family("SmolVLM", SmolVLMNetwork, SmolVLMConfig, "Apache-2.0 (Hugging Face)")


class Idefics3Captioner(TransformersCaptioner):
    """Idefics3 behind the interface."""

    family = _family("Idefics3", Idefics3Network, Idefics3Config, "Apache-2.0 (Hugging Face)")


if TYPE_CHECKING:
    _: tuple[type[Captioner], ...] = (SmolVLMCaptioner, Idefics3Captioner)  # what the table opens is checked here
