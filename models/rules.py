"""Rules of a beam search that the library does not have, or has more slowly; the same for every captioner."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor

from models.captioner import NextScores
from models.settings import Decoding
from utils.errors import NoNumbers


def generate_arguments(decoding: Decoding) -> dict[str, Any]:
    """Rules as arguments of ``generate``; lengths there count BOS, and the longest counts EOS too."""
    lengths = {"max_length": decoding.max_length + 2, "min_length": decoding.min_length + 1}
    arguments = asdict(decoding) | lengths
    del arguments["guidance"]
    if decoding.num_beams == 1:
        del arguments["length_penalty"]
    return arguments


@dataclass(frozen=True)
class CaptionRules(LogitsProcessor):
    """What the next token may be, in one pass over the scores.

    The library has a processor for each rule, and each copies the (N, V) scores; together they cost as much as the
    decoder. At the last position EOS is forced, and keeps what the model gave it, as in fairseq: the library's
    log-probability of 0 would make a cut caption look better than a finished one.

    Attributes:
        pad_token_id: Banned always.
        eos_token_id: Banned below ``min_length``.
        min_length: Fewest tokens of the sequence, BOS included, before EOS.
        max_length: Tokens of the whole sequence, BOS and EOS included.
        force_eos: Whether EOS is forced when ``max_length`` is reached.
        no_repeat_ngram_size: No n-gram of this length occurs twice in a sequence, BOS included; 0 is off.
        in_place: Whether the scores may be overwritten.
    """

    pad_token_id: int
    eos_token_id: int
    min_length: int
    max_length: int
    force_eos: bool
    no_repeat_ngram_size: int
    in_place: bool = False

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (N, V) for the token after ``input_ids`` (N, T)."""
        scores = scores if self.in_place else scores.clone()
        length = input_ids.shape[1]
        scores[:, self.pad_token_id] = -torch.inf
        if length < self.min_length:
            scores[:, self.eos_token_id] = -torch.inf
        if self.force_eos and length >= self.max_length - 1:
            kept = scores[:, self.eos_token_id].clone()
            scores.fill_(-torch.inf)
            scores[:, self.eos_token_id] = kept
        elif 0 < self.no_repeat_ngram_size <= length:
            ngrams = input_ids.unfold(1, self.no_repeat_ngram_size, 1)  # (N, windows, n)
            prefix = input_ids[:, None, length - self.no_repeat_ngram_size + 1 :]
            rows, windows = (ngrams[..., :-1] == prefix).all(-1).nonzero(as_tuple=True)
            scores[rows, ngrams[rows, windows, -1]] = -torch.inf
        return scores


class ScoreWatch(LogitsProcessor):
    """Remembers whether the best score of every row was a number at each step, without waiting for the device."""

    def __init__(self) -> None:
        self._total: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return scores (N, V) as they are."""
        best = scores.amax().float()  # NaN if any score is
        self._total = best if self._total is None else self._total + best
        return scores

    def check(self) -> None:
        """Raise what captions of no numbers deserve.

        Raises:
            NoNumbers: If a score was NaN or infinite.
        """
        if self._total is not None and not bool(self._total.isfinite()):
            raise NoNumbers(
                "the scores of captions are NaN or infinite: a picture holds no numbers, or the model overflows on it"
            )


class Fused(LogitsProcessor):
    """Adds what another model says of the next token.

    Args:
        fusion: Of the captions without BOS.
    """

    def __init__(self, fusion: NextScores) -> None:
        self.fusion = fusion

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (N, V) with its own; what may not come stays at ``-inf``."""
        return scores + self.fusion(input_ids[:, 1:])[:, : scores.shape[1]]
