"""How captions are asked for, and what is handed out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from models.settings import Decoding

RANGES: dict[str, tuple[type, float, float]] = {
    "num": (int, 1, 256),
    "num_beams": (int, 1, 256),
    "max_length": (int, 1, 2048),
    "min_length": (int, 0, 2048),
    "no_repeat_ngram_size": (int, 0, 1_000_000),
    "length_penalty": (float, -1000, 1000),
    "guidance": (float, 0, 1_000_000),
    "lm_weight": (float, 0, 1_000_000),
    "lm_guidance": (float, 0, 1_000_000),
    "temperature": (float, 0.01, 100),
    "top_p": (float, 0.001, 1),
    "seed": (int, -(2**63), 2**63 - 1),
}
"""Type, least and most of each number of :class:`Writing`; a folder's are bound in ``models/bounds.py``."""
LENGTHS = ("max_length", "min_length")
OF_BEAMS = ("num_beams", "min_length", "no_repeat_ngram_size", "length_penalty")
OF_LM = ("lm_weight", "lm_guidance")
OF_DRAWS = ("temperature", "top_p")
SAMPLINGS = ("beam", "multinomial")


@dataclass(frozen=True)
class Writing:
    """How captions are written; None leaves it to the model folder.

    Attributes:
        num: Captions of each picture and style: the best of a beam search, at most its beams, or as many draws.
        sampling: ``beam``, or ``multinomial``: draws from the model's own distribution.
        num_beams: Of the beam search; 1 is greedy.
        max_length: Most caption tokens.
        min_length: Fewest; of the beam search.
        no_repeat_ngram_size: No n-gram of this length occurs twice; 0 is off. Of the beam search.
        length_penalty: Exponent of the length that a beam's score is divided by.
        guidance: Weight of a style against the neutral one; 1 is off.
        lm_weight: Times the log-probabilities of the language model beside the captioner; None is the weight that it
            was put there with, 0 is off.
        lm_guidance: Times what the style adds to that language model; as ``lm_weight``.
        temperature: Of draws: divides the logits.
        top_p: Of draws: from the likeliest tokens that together have this probability.
        seed: Of draws: what a picture gets in a style depends on it and on nothing else.
        prefix: Every caption starts with it; outer space is dropped. "" is off.
    """

    num: int = 1
    sampling: Literal["beam", "multinomial"] = "beam"
    num_beams: int | None = None
    max_length: int | None = None
    min_length: int | None = None
    no_repeat_ngram_size: int | None = None
    length_penalty: float | None = None
    guidance: float | None = None
    lm_weight: float | None = None
    lm_guidance: float | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    prefix: str = ""

    def rules(self, decoding: Decoding) -> Decoding:
        """Rules of the folder, with what is asked for in their place."""
        asked = {name: value for name in vars(decoding) if (value := getattr(self, name)) is not None}
        return replace(decoding, **asked)

    def check(self, decoding: Decoding, text_length: int, *, has_lm: bool = False) -> None:
        """Refuse what cannot be written.

        Args:
            decoding: Of the folder.
            text_length: Most tokens that the model has positions for.
            has_lm: Whether a language model stands beside the captioner.

        Raises:
            ValueError: Naming the option, its value and what is allowed.
        """
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling={self.sampling!r}: must be one of {', '.join(SAMPLINGS)}")
        for name, (kind, least, most) in RANGES.items():
            _check_number(
                name,
                getattr(self, name),
                kind,
                least,
                min(most, text_length) if kind is int and "length" in name else most,
            )
        self._check_together(self.rules(decoding))
        if not has_lm and (weighed := [name for name in OF_LM if getattr(self, name)]):
            raise ValueError(
                f"{weighed[0]}={getattr(self, weighed[0])}: there is no language model beside the captioner to be "
                "weighed; start with --lm FOLDER (CaptionModel.fuse in Python), or leave it out"
            )
        if not isinstance(self.prefix, str):
            raise ValueError(f"prefix={self.prefix!r}: must be text")

    def _check_together(self, rules: Decoding) -> None:
        neutral = Writing()
        idle = OF_DRAWS if self.sampling == "beam" else OF_BEAMS
        if useless := [name for name in idle if getattr(self, name) != getattr(neutral, name)]:
            other = SAMPLINGS[self.sampling == "beam"]
            raise ValueError(
                f"{useless[0]}={getattr(self, useless[0])}: changes nothing with sampling={self.sampling}; leave it "
                f"out, or use sampling={other}"
            )
        if self.sampling == "beam" and self.num > rules.num_beams:
            raise ValueError(
                f"num={self.num}: a search with num_beams={rules.num_beams} finds no more than that; "
                "raise num_beams, or use sampling=multinomial"
            )
        if self.sampling == "beam" and rules.min_length > rules.max_length:
            raise ValueError(f"min_length={rules.min_length}: must be at most max_length, which is {rules.max_length}")


AS_TRAINED = Writing()
"""One caption, written as the folder says."""


@dataclass(frozen=True)
class Caption:
    """A caption that a model wrote.

    Attributes:
        text: All of it, the prefix included.
        log_prob: Natural logarithm of p(caption | picture, style), without guidance, temperature and language model:
            the sum over its tokens, with the end if it has one.
        cut: Whether it was cut at the limit of its length.
    """

    text: str
    log_prob: float
    cut: bool


def _check_number(name: str, value: object, kind: type, least: float, most: float) -> None:
    if value is None:
        return
    fits = isinstance(value, int) if kind is int else isinstance(value, int | float)
    if not fits or isinstance(value, bool) or not least <= value <= most:  # type: ignore[operator]  # a number by now
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name}={value}: must be {what} from {least:,} to {most:,}")
