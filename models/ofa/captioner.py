"""OFA behind the interface of captioners."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from transformers import LogitsProcessorList

from models.captioner import About, Captioner, Limits, NewModel, NextScores, VisionInfo
from models.guidance import decoded_prompts
from models.inputs import INPUTS, make_preprocessor
from models.ofa.encoder import OFAEncoderOutput
from models.ofa.folder import load_ofa, save_ofa, write_configuration
from models.ofa.guidance import GuidedCache
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.ofa.new import new_ofa
from models.ofa.sampling import sample_captions
from models.ofa.steps import OFASteps
from models.ofa.tokenization_ofa import OFATokenizer
from models.rules import Fused, ScoreWatch, generate_arguments
from models.settings import CaptionerSettings, Decoding
from models.style_rows import start_style_rows
from preprocessors.collator import IGNORE_INDEX
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.pictures.images import MEAN_STD, Normalisation
from preprocessors.text.styles import StyleRegistry

PUBLISHED_IMAGE_SIZE = 480
"""Pixels, of the published captioning checkpoints."""
UNUSED_BY_CAPTIONING = ("embed_image_positions", "image_pos_ln", "image_rel_pos_table_list", "code_layernorm_embedding")
"""Decoder modules of image generation; they never get a gradient, for which DDP would wait in vain."""


class OFACaptioner:
    """An OFA model with its tokenizer, see :class:`models.captioner.Captioner`.

    Args:
        module: The model.
        tokenizer: Its tokenizer.
        called: What differentiable calls go through; None for nobody that trains.
    """

    lora_targets = r"(encoder|decoder)\.layers\.\d+\.(self_attn|cross_attn)\.[qv]_proj"

    def __init__(
        self, module: OFAForConditionalGeneration, tokenizer: OFATokenizer, called: nn.Module | None = None
    ) -> None:
        self.module, self.tokenizer = module, tokenizer
        self._called = called

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a folder of ModelScope's layout or of ours."""
        return cls(*load_ofa(folder))

    @classmethod
    def new(cls, wanted: NewModel) -> Self:
        """A model with random weights, and a BPE of its captions."""
        return cls(*new_ofa(wanted))

    @classmethod
    def about(cls) -> About:
        """For people."""
        return About(
            "StyleCap's own `OFAForConditionalGeneration`",
            "the prompt passes the encoder behind the picture",
            "Apache-2.0 (DAMO Academy)",
            "numbers of the original's code with random weights; names and shapes of the published weights",
        )

    def save(self, folder: Path, settings: CaptionerSettings | None) -> None:
        """Write a folder that ModelScope's own code opens as well, if the vision network is OFA's own."""
        save_ofa(
            folder, self.module, self.tokenizer, configuration=None if settings is None else settings.to_model_section()
        )

    def save_companions(self, folder: Path, settings: CaptionerSettings | None) -> None:
        """Write vocabulary and settings."""
        self.tokenizer.save_to_dir(folder)
        write_configuration(folder, self.module.config, _section(settings))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.module.device

    def through(self, module: nn.Module) -> Self:
        """This captioner, calling ``module``."""
        return type(self)(self.module, self.tokenizer, module)

    def frozen_copy(self) -> Self:
        """A deep copy of the weights; the tokenizer is shared."""
        return type(self)(copy.deepcopy(self.module).requires_grad_(False).eval(), self.tokenizer)

    def _model(self) -> nn.Module:
        return self.module if self._called is None else self._called

    def encode(self, batch: Mapping[str, Tensor]) -> OFAEncoderOutput:
        """Pictures and prompts to encoder states."""
        given = {name: batch[name] for name in INPUTS if name in batch}
        if self._called is None:
            # As ``generate`` does it: a Trainer's autocast around the model's forward pass does not reach captions.
            return self.module.encoder(**given)
        return self._called(**given, encode_only=True).encoder_outputs

    def logits(
        self,
        encoded: OFAEncoderOutput,
        token_ids: Tensor,
        *,
        drawable: bool = False,
        caption_rows: Tensor | None = None,
        packed: bool = False,
    ) -> Tensor:
        """Over all of the vocabulary, or over the BPE without padding if ``drawable``."""
        decoder_input_ids = self.module.shift_right(token_ids)
        logits = self._model()(
            encoder_outputs=encoded,
            decoder_input_ids=decoder_input_ids,
            caption_logits=drawable,
            caption_rows=caption_rows,
            wanted=token_ids.ne(IGNORE_INDEX) if packed else None,
        ).logits
        if not drawable:
            return logits
        padding = torch.arange(logits.shape[-1], device=logits.device) == self.module.config.pad_token_id
        return logits.float().masked_fill(padding, -torch.inf)

    def token_log_probs(self, encoded: OFAEncoderOutput, token_ids: Tensor, temperature: float = 1.0) -> Tensor:
        """Without logits of the whole batch."""
        scores = self._model()(encoder_outputs=encoded, scored_ids=token_ids, temperature=temperature)
        return scores.token_log_probs

    def sample(
        self,
        encoded: OFAEncoderOutput,
        uniforms: Tensor,
        *,
        with_greedy: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        guidance: float = 1.0,
        neutral: OFAEncoderOutput | None = None,
        prefix: Sequence[int] = (),
        fusion: NextScores | None = None,
    ) -> Tensor:
        """Without a second encoder pass."""
        encoded, neutral = decoded_prompts(encoded, neutral, guidance)
        cache = None if neutral is None else GuidedCache(uniforms.shape[-1], neutral, guidance)
        return sample_captions(
            self.module,
            encoded,
            uniforms,
            cache,
            with_greedy=with_greedy,
            temperature=temperature,
            top_p=top_p,
            prefix=prefix,
            fusion=fusion,
        )

    @torch.no_grad()
    def beams(
        self,
        encoded: OFAEncoderOutput,
        decoding: Decoding,
        *,
        num_captions: int = 1,
        force_end: bool = True,
        neutral: OFAEncoderOutput | None = None,
        prefix: Sequence[int] = (),
        fusion: NextScores | None = None,
    ) -> Tensor:
        """The library's beam search under OFA's rules."""
        encoded, neutral = decoded_prompts(encoded, neutral, decoding.guidance)
        images = len(encoded.last_hidden_state)
        start = [self.module.config.decoder_start_token_id, *prefix]
        # As an argument: None in a configuration object means the model's own setting.
        others: dict[str, Any] = {} if force_end else {"forced_eos_token_id": None}
        if neutral is not None:
            others["past_key_values"] = GuidedCache(decoding.max_length + 2, neutral, decoding.guidance)
        watch, fused = ScoreWatch(), [] if fusion is None else [Fused(fusion)]
        found = self.module.generate(
            decoder_input_ids=torch.tensor([start] * images, device=encoded.last_hidden_state.device),
            encoder_outputs=encoded,
            num_return_sequences=num_captions,
            logits_processor=LogitsProcessorList([*fused, watch]),
            **others,
            **generate_arguments(decoding),
        )
        watch.check()
        found = found[:, 1:]  # without BOS
        return found.masked_fill(found.eq(self.module.config.pad_token_id), IGNORE_INDEX)

    def steps(self, encoded: OFAEncoderOutput, prefix: Sequence[int], most: int) -> OFASteps:
        """With a cache."""
        return OFASteps(self.module, encoded, prefix, most)

    def parts(self) -> Mapping[str, Sequence[nn.Module]]:
        """The ResNet, or what stands in its place, is the vision network."""
        model = self.module
        unused = [getattr(model.decoder, name) for name in UNUSED_BY_CAPTIONING]
        return {
            "vision": [model.encoder.embed_images],
            "vision_stages": model.encoder.embed_images.stages(),
            "embeddings": [model.get_input_embeddings(), model.get_output_embeddings()],
            "decoder": [model.decoder],
            "unused": [module for module in unused if module is not None],
        }

    def freeze_statistics(self) -> None:
        """Of the vision network."""
        self.module.encoder.embed_images.freeze_statistics()

    def limits(self) -> Limits:
        """From the position tables and the vision network's grid."""
        config, network = self.module.config, self.module.encoder.embed_images
        return Limits(network.multiple, config.image_bucket_size * network.stride, config.max_position_embeddings - 2)

    def vision(self) -> VisionInfo:
        """As published for the ResNet; a pretrained network's own."""
        found = self.module.config.vision
        if found is None:
            return VisionInfo(PUBLISHED_IMAGE_SIZE, MEAN_STD["half"], is_pretrained=False)
        mean_std = Normalisation(tuple(found["mean"]), tuple(found["std"]))
        return VisionInfo(found["size"], mean_std, is_pretrained=True, is_named=found["named"])

    def add_style_tokens(self, names: Mapping[str, str]) -> None:
        """Rows behind the vocabulary; new ones start as the mean of the name's sub-words."""
        known = {*self.tokenizer.style_tokens}
        self.start_style_tokens({token: name for token, name in names.items() if token not in known})

    def start_style_tokens(self, names: Mapping[str, str]) -> None:
        """As the mean of the name's sub-words."""
        if not names:
            return
        self.tokenizer.add_style_tokens([*names])
        if len(self.tokenizer) > self.module.config.vocab_size:
            self.module.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
        start_style_rows(self, names)

    def preprocessor(
        self,
        registry: StyleRegistry,
        settings: CaptionerSettings,
        *,
        style_dropout: float = 0.0,
        random_crop_from: int | None = None,
        seed: int = 0,
    ) -> OFAStylePreprocessor:
        """Prompts with the style in them."""
        return make_preprocessor(
            self.tokenizer,
            registry,
            settings,
            text_length=self.limits().text_length,
            style_dropout=style_dropout,
            random_crop_from=random_crop_from,
            seed=seed,
        )


def _section(settings: CaptionerSettings | None) -> dict[str, Any]:
    return {} if settings is None else settings.to_model_section()


if TYPE_CHECKING:
    _: type[Captioner] = OFACaptioner  # what the table opens by name is checked here
