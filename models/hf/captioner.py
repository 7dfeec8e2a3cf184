"""A captioner of transformers behind the interface; a family's file says what is its own."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from transformers import LogitsProcessorList, PreTrainedModel

from models.captioner import About, Limits, NewModel, NextScores, VisionInfo
from models.guidance import decoded_prompts
from models.hf.family import Family
from models.hf.folder import write_companions, write_weights
from models.hf.growth import DrawableSteps, Growth, GuidedGrowth, only_drawable
from models.hf.network import EncodedPictures, PictureFeatures, prefix_lengths
from models.hf.search import search
from models.hf.tokenizer import FamilyTokenizer
from models.inputs import INPUTS, make_preprocessor
from models.rules import CaptionRules, Fused, ScoreWatch, generate_arguments
from models.sampling import draw_captions
from models.settings import CaptionerSettings, Decoding
from models.style_rows import start_style_rows
from models.vision.transformers_networks import describe
from preprocessors.collator import IGNORE_INDEX
from preprocessors.ofa import OFAStylePreprocessor
from preprocessors.text.styles import StyleRegistry

TESTED = "numbers of the library's class, with random weights and tiny shapes alone"


class TransformersCaptioner:
    """See :class:`models.captioner.Captioner`.

    Args:
        module: The family's network.
        tokenizer: Of its vocabulary.
        vision: How its pictures are made.
        called: What differentiable calls go through; None for nobody that trains.
    """

    family: ClassVar[Family]

    def __init__(
        self, module: Any, tokenizer: FamilyTokenizer, vision: VisionInfo, called: nn.Module | None = None
    ) -> None:
        self.module, self.tokenizer, self._vision = module, tokenizer, vision
        self._called, self._can = called, torch.empty(0)
        # Trainer compares what a checkpoint lacks with this list, and would warn of every tied weight.
        module._keys_to_ignore_on_save = [*module.all_tied_weights_keys]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a folder of transformers or of ours."""
        return cls(*cls.family.open(folder))

    @classmethod
    def about(cls) -> About:
        """For people."""
        family = cls.family
        return About(f"`{family.class_name}`", family.style, family.licence, TESTED)

    @classmethod
    def new(cls, wanted: NewModel) -> Self:
        """Refused: these models are only worth having with the weights that they were published with.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            f"model.preset={wanted.preset}: {cls.family.name} is opened from a folder (model.name) and never made anew"
        )

    def save(self, folder: Path, settings: CaptionerSettings | None) -> None:
        """Write a folder that transformers opens as well."""
        folder.mkdir(parents=True, exist_ok=True)
        self.save_companions(folder, settings)
        write_weights(folder, self.module)

    def save_companions(self, folder: Path, settings: CaptionerSettings | None) -> None:
        """Write vocabulary, configuration, processor and settings."""
        self.tokenizer.save(folder)
        write_companions(
            folder,
            self.module,
            self.family.class_name,
            processor=self.family.processor,
            tokenizer={**self.family.tokenizer, "style_tokens": self.tokenizer.style_tokens},
            vision=self._vision,
            settings=settings,
        )

    @property
    def lora_targets(self) -> str:
        """The family's, for :class:`models.adapters.Adapters`."""
        return self.family.lora_targets

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        device: torch.device = self.module.device
        return device

    def through(self, module: nn.Module) -> Self:
        """This captioner, calling ``module``."""
        return type(self)(self.module, self.tokenizer, self._vision, module)

    def frozen_copy(self) -> Self:
        """A deep copy of the weights; the tokenizer is shared."""
        return type(self)(copy.deepcopy(self.module).requires_grad_(False).eval(), self.tokenizer, self._vision)

    def encode(self, batch: Mapping[str, Tensor]) -> EncodedPictures:
        """Pictures and prompts, each picture once."""
        given = {name: batch[name] for name in INPUTS if name in batch}
        # Not through ``forward`` where nobody trains: a Trainer's autocast around it does not reach captions.
        encoded: EncodedPictures = self.module.encode(**given) if self._called is None else self._called(**given)
        return encoded

    def logits(
        self,
        encoded: EncodedPictures,
        token_ids: Tensor,
        *,
        drawable: bool = False,
        caption_rows: Tensor | None = None,
        packed: bool = False,
    ) -> Tensor:
        """Over all of the vocabulary, or over what a caption can be made of if ``drawable``."""
        call = self.module.caption_logits if self._called is None else self._called
        logits: Tensor = call(encoded=encoded, token_ids=token_ids, caption_rows=caption_rows, packed=packed)
        return only_drawable(logits, self._drawable()) if drawable else logits

    def token_log_probs(self, encoded: EncodedPictures, token_ids: Tensor, temperature: float = 1.0) -> Tensor:
        """Of the tokens alone that count."""
        counted = token_ids.ne(IGNORE_INDEX)
        logits = self.logits(encoded, token_ids, drawable=True, packed=True) / temperature
        chosen = logits.gather(-1, token_ids[counted][:, None])[:, 0] - logits.logsumexp(-1)
        return chosen.new_zeros(token_ids.shape).masked_scatter(counted, chosen)

    def sample(
        self,
        encoded: EncodedPictures,
        uniforms: Tensor,
        *,
        with_greedy: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        guidance: float = 1.0,
        neutral: EncodedPictures | None = None,
        prefix: Sequence[int] = (),
        fusion: NextScores | None = None,
    ) -> Tensor:
        """Without a second pass of pictures and prompts."""
        drawable = self._drawable()
        growth = self._grow(encoded, neutral, guidance, uniforms.shape[1] + with_greedy, prefix)
        begun = False

        def look(tokens: Tensor) -> Tensor:
            nonlocal begun
            if begun:
                growth.take(torch.arange(len(tokens), device=tokens.device), tokens[:, 0])
            begun = True
            return only_drawable(growth.logits, drawable)

        return draw_captions(
            look,
            uniforms,
            eos_token_id=self.tokenizer.eos_token_id,
            device=self.device,
            with_greedy=with_greedy,
            temperature=temperature,
            top_p=top_p,
            prefix=prefix,
            fusion=fusion,
        )

    @torch.no_grad()
    def beams(
        self,
        encoded: EncodedPictures,
        decoding: Decoding,
        *,
        num_captions: int = 1,
        force_end: bool = True,
        neutral: EncodedPictures | None = None,
        prefix: Sequence[int] = (),
        fusion: NextScores | None = None,
    ) -> Tensor:
        """The library's beam search under the rules that OFA has too."""
        growth = self._grow(encoded, neutral, decoding.guidance, decoding.num_beams, prefix)
        options, ids = generate_arguments(decoding), self.tokenizer
        rules = CaptionRules(
            pad_token_id=ids.pad_token_id,
            eos_token_id=ids.eos_token_id,
            min_length=options.pop("min_length"),
            max_length=options["max_length"],
            force_eos=force_end,
            no_repeat_ngram_size=options.pop("no_repeat_ngram_size"),
        )
        watch, fused = ScoreWatch(), [] if fusion is None else [Fused(fusion)]
        processors = LogitsProcessorList([rules, *fused, watch])
        options |= {"num_return_sequences": num_captions}
        options |= {"eos_token_id": ids.eos_token_id, "pad_token_id": ids.pad_token_id}
        start = torch.tensor([[ids.bos_token_id, *prefix]] * len(encoded.prefix), device=self.device)
        found = search(growth, self._drawable(), start, processors, options)[:, 1:]  # without BOS
        watch.check()
        ends = found.eq(ids.eos_token_id).int()
        # The library fills up with EOS where the id of padding is 0.
        return found.masked_fill((ends.cumsum(1) - ends).bool() | found.eq(ids.pad_token_id), IGNORE_INDEX)

    def _grow(
        self,
        encoded: EncodedPictures,
        neutral: EncodedPictures | None,
        guidance: float,
        per_picture: int,
        prefix: Sequence[int],
    ) -> Growth | GuidedGrowth:
        encoded, neutral = decoded_prompts(encoded, neutral, guidance)
        styled = Growth(self.module, encoded, per_picture, prefix)
        if neutral is None:
            return styled
        return GuidedGrowth(styled, Growth(self.module, neutral, per_picture, prefix), guidance)

    def steps(self, encoded: EncodedPictures, prefix: Sequence[int], most: int) -> DrawableSteps:
        """With a cache."""
        asked, have = int(prefix_lengths(encoded)) + len(prefix) + most, self.family.positions(self.module.config)
        if asked > have:
            raise ValueError(f"{asked} tokens of prompt and caption: the model has positions for {have}")
        return DrawableSteps(Growth(self.module, encoded, 1, prefix), self._drawable())

    def _drawable(self) -> Tensor:
        """What captions can be made of, bool, up to the last such entry."""
        if not len(self._can):  # style tokens are none of it, so that it never changes
            can = torch.tensor([bool(piece) for piece in self.tokenizer.pieces()])
            can[self.tokenizer.eos_token_id] = True
            self._can = can[: int(can.nonzero().max()) + 1]
        self._can = self._can.to(self.device)
        return self._can

    def parts(self) -> Mapping[str, Sequence[nn.Module]]:
        """The vision network alone, so that its features can be kept."""
        network = PictureFeatures(self.module, describe(self.module.config.vision_config))
        return {"vision": [network], **self.family.parts(self.module)}

    def freeze_statistics(self) -> None:
        """None of these networks has batch norms."""

    def limits(self) -> Limits:
        """From the position tables."""
        return self.family.limits(self.module.config)

    def vision(self) -> VisionInfo:
        """As its processor's file says."""
        return self._vision

    def add_style_tokens(self, names: Mapping[str, str]) -> None:
        """Rows behind the vocabulary; new ones start as the mean of the name's sub-words."""
        known = {*self.tokenizer.style_tokens}
        self.start_style_tokens({token: name for token, name in names.items() if token not in known})

    def start_style_tokens(self, names: Mapping[str, str]) -> None:
        """As the mean of the name's sub-words."""
        if not names:
            return
        self.tokenizer.add_style_tokens(names)
        model: PreTrainedModel = self.family.text_model(self.module)
        if len(self.tokenizer) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(self.tokenizer), mean_resizing=False)
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
        """Prompts with the style in them, pictures as everywhere in this project.

        Raises:
            ValueError: If a style is a token that the vocabulary does not have, which would be read in pieces.
        """
        tokens = [] if registry.inject == "words" else [registry.token_of(name) for name in registry.names]
        if absent := [token for token in tokens if token not in self.tokenizer.style_tokens]:
            raise ValueError(
                f"style.inject={registry.inject}: {self.family.name} has no {absent[0]} in its vocabulary and would "
                "read it in pieces; use style.inject=token or words"
            )
        return make_preprocessor(
            self.tokenizer,
            registry,
            settings,
            text_length=self.limits().text_length,
            style_dropout=style_dropout,
            random_crop_from=random_crop_from,
            seed=seed,
        )
