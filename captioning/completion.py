"""The likeliest continuations of a half-written caption, word by word."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import NamedTuple

import torch
from torch import Tensor

from models.captioner import CaptionTokenizer, Steps

WIDTH = 4
"""Beginnings that are followed for each continuation that is asked for."""
TOKENS_OF_A_WORD = 8
"""Most that are looked for; longer words are not found."""
LEAST_SHARE = 0.01
"""Of the likeliest continuation's chances: what has less of them is no help to who writes."""


class Pieces:
    """What the entries of a vocabulary add to a caption, to be looked up by their beginnings.

    Args:
        tokenizer: Of the captioner.

    Attributes:
        bytes_of: By id; nothing for EOS and its like.
        is_silent: bool (V,), True for those.
        starts_word: bool (V,), True where white space comes first.
    """

    def __init__(self, tokenizer: CaptionTokenizer) -> None:
        self.bytes_of, self.eos = tokenizer.pieces(), tokenizer.eos_token_id
        self.is_silent = torch.tensor([not piece for piece in self.bytes_of])
        self.starts_word = torch.tensor([piece[:1].isspace() for piece in self.bytes_of])
        self._sorted = sorted((piece, number) for number, piece in enumerate(self.bytes_of) if piece)
        self._id_of = dict(self._sorted)

    def beginning_with(self, wanted: bytes) -> list[int]:
        """Ids whose bytes begin with these."""
        found = []
        for piece, number in self._sorted[bisect_left(self._sorted, (wanted, -1)) :]:
            if not piece.startswith(wanted):
                break
            found.append(number)
        return found

    def within(self, wanted: bytes) -> list[int]:
        """Ids whose bytes these begin with and go beyond."""
        shorter = [wanted[:end] for end in range(1, len(wanted))]
        return [self._id_of[piece] for piece in shorter if piece in self._id_of]


class _Beginning(NamedTuple):
    text: bytes
    log_prob: float


class Completion:
    """A search for continuations.

    It follows the likeliest beginnings token by token. What is typed of a word may be cut into tokens in many ways, so
    it is not taken as tokens: it restricts those that may come. A beginning of all the words that are asked for counts
    with the chances that another word, or the end, follows; so all continuations together have all chances.

    Args:
        pieces: Of the vocabulary.
        typed: Text that continuations begin with; what follows it is handed out.
        at_start: Whether nothing stands before it: a caption's first word comes without its space.
        num: Most continuations.
        words: Words of each.
    """

    def __init__(self, pieces: Pieces, typed: str, *, at_start: bool, num: int, words: int) -> None:
        self.pieces, self.num, self.words = pieces, num, words
        self.typed, self.at_start = typed.encode(), at_start
        self.targets = [self.typed, b" " + self.typed] if at_start and self.typed else [self.typed]
        self.live, self.found = [_Beginning(b"", 0.0)], dict[str, float]()
        self.all_chances = 0.0 if self.typed else 1.0

    @property
    def most_tokens(self) -> int:
        """Steps after which the search ends."""
        return len(self.typed) + TOKENS_OF_A_WORD * self.words

    def run(self, steps: Steps, most_steps: int) -> list[str]:
        """Continuations, likeliest first, without those that hardly ever come.

        There are none where the caption has ended with more than half of all chances.

        Args:
            steps: Of a captioner, behind what stands before the typed text.
            most_steps: That they may take; a search of more tokens ends there.
        """
        for left in range(min(self.most_tokens, most_steps), -1, -1):
            scores = self._scores(steps.log_probs.cpu())
            if not left or not self._goes_on():
                break
            best, places = scores.flatten().topk(min(WIDTH * self.num, scores.numel()))
            places = places[best.isfinite()]
            if not len(places):
                break
            rows, tokens = places // scores.shape[1], places % scores.shape[1]
            self.live = [
                _Beginning(self.live[row].text + self.pieces.bytes_of[token], score)
                for row, token, score in zip(rows.tolist(), tokens.tolist(), best.tolist(), strict=False)
            ]
            steps.take(rows, tokens)
        if math.exp(self.found.pop("", -math.inf)) > self.all_chances / 2:
            return []
        ordered = sorted(self.found, key=self.found.__getitem__, reverse=True)
        least = max(self.found.values(), default=0.0) + math.log(LEAST_SHARE)
        return [text for text in ordered[: self.num] if self.found[text] >= least]

    def _goes_on(self) -> bool:
        """Whether a beginning may still come to more than what is found."""
        best = sorted((score for text, score in self.found.items() if text), reverse=True)
        return len(best) < self.num or max(row.log_prob for row in self.live) > best[self.num - 1]

    def _scores(self, log_probs: Tensor) -> Tensor:
        """Of every next token of the beginnings (N, V), ``-inf`` for what may not come; ends are taken note of."""
        log_probs = log_probs[:, : len(self.pieces.bytes_of)]
        scores = log_probs + torch.tensor([row.log_prob for row in self.live])[:, None]
        allowed = torch.zeros_like(scores, dtype=torch.bool)
        for row, beginning in enumerate(self.live):
            if any(beginning.text.startswith(target) for target in self.targets):
                allowed[row] = ~self.pieces.is_silent
                if self._end(beginning.text, scores[row]):
                    allowed[row] &= ~self.pieces.starts_word
            else:
                self._restrict(beginning.text, scores[row], allowed[row])
        return scores.masked_fill(~allowed, -torch.inf)

    def _restrict(self, text: bytes, scores: Tensor, allowed: Tensor) -> None:
        """Allow what leads to the typed text, in place."""
        for target in self.targets:
            if target.startswith(text):
                reached = self.pieces.beginning_with(target[len(text) :])
                self.all_chances += float(scores[reached].exp().sum())
                allowed[reached + self.pieces.within(target[len(text) :])] = True

    def _end(self, text: bytes, scores: Tensor) -> bool:
        """Take note of the chances that the continuation ends here; whether another word would be one too many."""
        said = (text.lstrip() if self.at_start else text)[len(self.typed) :]
        is_full = len(said.split()) >= self.words
        ends = scores[self.pieces.eos]
        if is_full:
            ends = torch.logaddexp(ends, scores[self.pieces.starts_word].logsumexp(0))
        readable = _readable(said.rstrip())
        if readable is not None and ends.isfinite():
            before = torch.tensor(self.found.get(readable, -math.inf))
            self.found[readable] = float(torch.logaddexp(before, ends))
        return is_full


def _readable(said: bytes) -> str | None:
    """As text; None if a character is cut, or is none that people write."""
    try:
        text = said.decode()
    except UnicodeDecodeError:
        return None
    return text if text.isprintable() else None


def split_typed(text: str, cleaned: str) -> tuple[str, str]:
    """What of a text is surely whole words, and what its continuations begin with.

    Args:
        text: As a person typed it.
        cleaned: The same as captions are trained on.

    Returns:
        The words before the last, and the last with the space before it; or all, and a space, if one was typed.
    """
    if cleaned and text[-1].isspace():
        return cleaned, " "
    head, space, last = cleaned.rpartition(" ")
    return head, space + last
