"""Captions written together with a language model of styles: its log-probabilities are added to the captioner's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from torch import Tensor

from models.captioner import CaptionTokenizer, NextScores
from models.style_lm import StyleLM
from models.style_lm.following import Following
from models.style_lm.words import texts_of_entries


class Fusion:
    """What a language model adds to the scores of a caption's next token.

    ``weight * log p(x | style) + guidance * (log p(x | style) - log p(x | neutral))``.

    Args:
        lm: In evaluation mode, of the captioner's vocabulary; moved to where captions are written.
        weight: Of shallow fusion (Gulcehre et al. 2015, arXiv:1503.03535).
        guidance: Of what the style adds to the language model (after GeDi, Krause et al. 2020, arXiv:2009.06367).
    """

    def __init__(self, lm: StyleLM, *, weight: float, guidance: float) -> None:
        self.lm, self.weight, self.guidance = lm, weight, guidance

    def describe(self) -> dict[str, float]:
        """Its settings, for the record."""
        return {"lm_weight": self.weight, "lm_guidance": self.guidance}

    def weighed(self, weight: float | None, guidance: float | None) -> Fusion | None:
        """The same model with other weights, of which None leaves one as it is; None where both are 0."""
        weight = self.weight if weight is None else weight
        guidance = self.guidance if guidance is None else guidance
        return Fusion(self.lm, weight=weight, guidance=guidance) if weight or guidance else None

    def check(self, styles: Collection[str], max_length: int) -> None:
        """Refuse captions that it cannot read.

        Args:
            styles: That captions are to be in.
            max_length: Most tokens of a caption before EOS.

        Raises:
            ValueError: If it lacks a style, or has too few positions.
        """
        self.lm.check_length(max(len(self.lm.prompt(style)) for style in styles) + max_length + 1)

    def find(self, style: str) -> str | None:
        """The language model's style of that name or alias; None if it knows none."""
        return None if self.lm.registry is None else self.lm.registry.find(style)

    def of(self, styles: Sequence[str]) -> NextScores:
        """For pictures in these styles; for one search or draw, which it follows from call to call.

        Raises:
            ValueError: If the language model lacks one.
        """
        styled = Following(self.lm, [self.lm.prompt(style) for style in styles])
        neutral = Following(self.lm, [self.lm.prompt(None)] * len(styles)) if self.guidance else None

        def score(token_ids: Tensor) -> Tensor:
            self.lm.network.to(token_ids.device)
            scores = (self.weight + self.guidance) * styled.log_probs(token_ids)
            return scores if neutral is None else scores - self.guidance * neutral.log_probs(token_ids)

        return score


def open_fusion(
    folder: Path,
    tokenizer: CaptionTokenizer,
    styles: Sequence[str],
    *,
    weight: float,
    guidance: float,
    max_length: int,
) -> Fusion:
    """Open a language model beside a captioner.

    Args:
        folder: Of the language model.
        tokenizer: Of the captioner.
        styles: That captions may be asked for in.
        weight: As of :class:`Fusion`.
        guidance: As of :class:`Fusion`.
        max_length: Most tokens of a caption before EOS.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they are damaged, or the model has another vocabulary, not all styles, or too few positions.
    """
    lm = StyleLM.load_from_dir(folder)
    pieces = [piece.decode(errors="replace") for piece in tokenizer.pieces()]
    if texts_of_entries(lm.tokenizer)[: len(pieces)] != pieces or lm.tokenizer.eos_id != tokenizer.eos_token_id:
        raise ValueError(
            f"{folder}: has another vocabulary than the captioner, whose tokens it is to judge; train the language "
            "model with the captioner's tokenizer (documents.tokenizer)"
        )
    fusion = Fusion(lm, weight=weight, guidance=guidance)
    try:
        fusion.check([*styles, *(lm.registry.names if lm.registry else ())], max_length)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    return fusion
