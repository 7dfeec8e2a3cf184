"""What everybody may ask of a captioner. Trainers, captioning and pipeline know captioners by this file alone.

Shapes: B pictures, K captions of each, N = B * K, T caption tokens with EOS, V vocabulary. A caption as token ids ends
with EOS and is filled up with ``IGNORE_INDEX`` behind it; K captions of a picture stand next to each other.

The preprocessor's side, :class:`preprocessors.interface.CaptionPreprocessor`, stands where data sets can see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from models.settings import CaptionerSettings, Decoding
from preprocessors.interface import CaptionPreprocessor
from preprocessors.pictures.images import Normalisation
from preprocessors.text.captions import Punctuation
from preprocessors.text.masking import MaskTokenizer
from preprocessors.text.styles import StyleRegistry

Encoded = Any
"""What ``encode`` makes of B pictures with their prompts; a captioner's own affair, to be handed back to it alone."""


class Limits(NamedTuple):
    """What a captioner's tables cover."""

    image_multiple: int
    """Height and width of a picture are multiples of this, pixels."""
    image_size: int
    """Largest height and width, pixels."""
    text_length: int
    """Most tokens of a prompt or caption, without BOS and EOS."""


class VisionInfo(NamedTuple):
    """What a vision network was made for."""

    image_size: int
    """Height and width of a picture, pixels."""
    mean_std: Normalisation
    """Of its channels."""
    is_pretrained: bool
    """Whether it came trained by itself, and stays as it is unless more is asked for."""
    is_named: bool = False
    """Whether folders name its weights and do not hold them, so that they cannot change."""


class About(NamedTuple):
    """What people are told of a kind of captioner, see ``docs/models.md``."""

    class_name: str
    """Of the network, and whose it is."""
    style: str
    """How a style enters."""
    licence: str
    """Of the published weights."""
    tested: str
    """What it was held against here."""


class NewModel(NamedTuple):
    """What a new model is made from."""

    preset: str
    """Its size, by name."""
    overrides: Mapping[str, Any]
    """Fields of its configuration that differ from the preset's."""
    captions: Sequence[str]
    """Texts that the BPE is trained on."""
    prompts: Sequence[str]
    """Texts that go with every caption."""
    bpe_size: int
    """Vocabulary entries of the BPE."""
    num_codes: int
    """``<code_k>`` entries behind them."""
    seed: int
    """Of the weights."""
    vision: str | None = None
    """A pretrained vision network by name, folder or hub id; None for the captioner's own."""
    vision_is_named: bool = False
    """Folders name the weights of that network and do not hold them."""
    punctuation: Punctuation = "strip"
    """Rule for the captions."""


class CaptionTokenizer(MaskTokenizer, Protocol):
    """Text to token ids and back."""

    def __len__(self) -> int:
        """Entries of the vocabulary, V."""

    def pieces(self) -> Sequence[bytes]:
        """What each entry that a caption can be made of adds to its text, by id; nothing for EOS and its like.

        A word comes with the space before it.
        """


NextScores = Callable[[Tensor], Tensor]
"""From captions that grow, without BOS, int64 (N, T), what another model says of each next token, float32 (N, V), V at
least the entries of :meth:`CaptionTokenizer.pieces`. Rows of one picture stand together; ended ones hold anything."""


class Steps(Protocol):
    """Beginnings of a caption, N of one length, that grow token by token."""

    @property
    def log_probs(self) -> Tensor:
        """Of the next token, float32 (N, V), nats, in the distribution that ``sample`` draws from."""

    def take(self, rows: Tensor, token_ids: Tensor) -> None:
        """Go on with others in their place: each is one of the N, int64 (M,), and a token behind it, int64 (M,)."""


class Captioner(Protocol):
    """A model that captions, with its tokenizer.

    Calls that need gradients go through ``module``, or through what wraps it (:meth:`through`), so that several
    processes stay in step. ``sample`` and ``beams`` run without gradients, in the mode that the module is in.
    """

    @property
    def module(self) -> nn.Module:
        """What is trained, wrapped and saved."""

    @property
    def tokenizer(self) -> CaptionTokenizer:
        """Text to token ids and back."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a model folder, in evaluation mode.

        Raises:
            FileNotFoundError: If files are missing.
            ValueError: If they are damaged or do not fit one another.
        """

    @classmethod
    def new(cls, wanted: NewModel) -> Self:
        """A model with random weights, in evaluation mode.

        Raises:
            ValueError: If it cannot be made so, or this kind of captioner cannot be made at all.
        """

    def save(self, folder: Path, settings: CaptionerSettings | None) -> None:
        """Write a folder that :meth:`open` opens; the weights last, so that a folder with weights is complete."""

    def save_companions(self, folder: Path, settings: CaptionerSettings | None) -> None:
        """Write what weights need beside them; the weights are written by somebody else."""

    def through(self, module: nn.Module) -> Self:
        """This captioner with its differentiable calls going to ``module``: its own module, or what wraps it.

        In training everything goes through: number formats and gradients are the wrapper's. ``sample`` and ``beams``
        stay with the module itself.
        """

    def frozen_copy(self) -> Self:
        """This captioner as it is now, in evaluation mode and without gradients, whatever becomes of it later."""

    def encode(self, batch: Mapping[str, Tensor]) -> Encoded:
        """Pictures and prompts to whatever captions are made from; each picture goes through the vision network once.

        Args:
            batch: Of :class:`preprocessors.collator.CaptionCollator`: ``input_ids`` (B, S), and either
                ``patch_images`` (P, 3, H, W) or ``image_features`` of part ``vision`` with ``patch_masks`` bool (B,),
                True where there is a picture; neither for text alone. With ``picture_rows`` int64 (B,) rows show the
                pictures that it names, otherwise P = B. Other entries are passed over.
        """

    def logits(
        self,
        encoded: Encoded,
        token_ids: Tensor,
        *,
        drawable: bool = False,
        caption_rows: Tensor | None = None,
        packed: bool = False,
    ) -> Tensor:
        """Scores of every vocabulary entry at each position of captions.

        Args:
            encoded: Of B pictures.
            token_ids: The captions, int64 (N, T): position t is scored given the tokens before it.
            drawable: Only the first columns, up to the last that ``sample`` can draw; float32, ``-inf`` for what it
                never draws among them.
            caption_rows: The picture of each caption, int64 (N,) and ascending, where pictures have different numbers
                of captions.
            packed: Only where ``token_ids`` are not ``IGNORE_INDEX``, caption by caption: what is filled up costs least
                then.

        Returns:
            (N, T, V), or (M, V) of M tokens if ``packed``, or fewer columns with ``drawable``; with gradient.
        """

    def token_log_probs(self, encoded: Encoded, token_ids: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probabilities of captions' tokens in the distribution that ``sample`` draws from.

        Args:
            encoded: Of B pictures.
            token_ids: int64 (N, T).
            temperature: Divides the logits.

        Returns:
            float32 (N, T), nats, with gradient; 0 behind EOS.
        """

    def sample(
        self,
        encoded: Encoded,
        uniforms: Tensor,
        *,
        with_greedy: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        guidance: float = 1.0,
        neutral: Encoded | None = None,
        prefix: Sequence[int] = (),
        fusion: NextScores | None = None,
    ) -> Tensor:
        """Draw captions; equal uniforms give equal captions, whatever else is in the batch.

        Args:
            encoded: Of B pictures.
            uniforms: Random numbers in [0, 1), float64 (B, K, T): one for each caption and position.
            with_greedy: One more caption per picture, behind its K others: the likeliest token at every position.
            temperature: Divides the logits.
            top_p: Draw from the likeliest tokens that together have this probability.
            guidance: As of :class:`models.settings.Decoding`; the log-probabilities are divided by the temperature
                after it.
            neutral: As for :meth:`beams`.
            prefix: Token ids that every caption starts with, at most T; the random numbers of their positions are
                passed over.
            fusion: As for :meth:`beams`.

        Returns:
            int64 (B * K', T') with K' = K + with_greedy and T' <= T. A caption that had not ended after T tokens has
            no EOS.
        """

    def beams(
        self,
        encoded: Encoded,
        decoding: Decoding,
        *,
        num_captions: int = 1,
        force_end: bool = True,
        neutral: Encoded | None = None,
        prefix: Sequence[int] = (),
        fusion: NextScores | None = None,
    ) -> Tensor:
        """The likeliest captions that a beam search finds.

        Args:
            encoded: Of B pictures.
            decoding: Rules of the search.
            num_captions: K per picture, best first; at most ``decoding.num_beams``.
            force_end: End a caption at the limit of its length with EOS, as captions for people are; otherwise it has
                none there.
            neutral: Of the same pictures with the neutral prompt, for ``decoding.guidance``; None guides nothing.
            prefix: Token ids that every caption starts with, at most ``decoding.max_length``. The lengths of
                ``decoding`` and its n-grams count them; beams are compared by what they say behind them.
            fusion: Added to the log-probabilities of next tokens, guided or not; None adds nothing.

        Returns:
            int64 (B * K, T), with the prefix.

        Raises:
            NoNumbers: If scores are NaN or infinite, for which any caption would be made up.
        """

    def steps(self, encoded: Encoded, prefix: Sequence[int], most: int) -> Steps:
        """Begin a caption, for a search of one's own; without gradients.

        Args:
            encoded: Of one picture.
            prefix: Token ids that it starts with.
            most: Tokens that will come behind them at most.

        Raises:
            ValueError: If the model has no positions for so many tokens.
        """

    def parts(self) -> Mapping[str, Sequence[nn.Module]]:
        """Modules by name, for freezing and for adapters of weights.

        ``vision`` (one module: pixels (B, 3, H, W) to features), ``embeddings`` (tokens, and what is tied to them) and
        ``decoder`` are always there; ``unused`` are those that captioning never uses and that get no gradient, and
        ``vision_stages`` those of the vision network that can be trained without the ones before.
        """

    def freeze_statistics(self) -> None:
        """Keep the vision network's batch norms at their running statistics, in training too; in place."""

    def limits(self) -> Limits:
        """What its tables cover."""

    def vision(self) -> VisionInfo:
        """What its vision network was made for."""

    def add_style_tokens(self, names: Mapping[str, str]) -> None:
        """Give vocabulary entries to styles, in place; those that are there already keep their ids and weights.

        Args:
            names: By token the name of its style, from which its embedding starts.
        """

    def start_style_tokens(self, names: Mapping[str, str]) -> None:
        """Let the embeddings of vocabulary entries start from the names of styles, in place.

        Args:
            names: By token, or code, the name of its style; what the vocabulary lacks gets an entry behind all others.

        Raises:
            ValueError: If the vocabulary has no room for a code.
        """

    def preprocessor(
        self,
        registry: StyleRegistry,
        settings: CaptionerSettings,
        *,
        style_dropout: float = 0.0,
        random_crop_from: int | None = None,
        seed: int = 0,
    ) -> CaptionPreprocessor:
        """What makes its inputs.

        Args:
            registry: Styles of the model.
            settings: How the captioner is to be used.
            style_dropout: In training, probability of the neutral style in place of the example's.
            random_crop_from: In training, pixels a side that a crop is drawn from; None crops nothing.
            seed: Of everything drawn.
        """
