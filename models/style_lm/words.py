"""Texts continued word by word: likely tokens that begin a word, each gone on with greedily to the end of its words.

Both the evaluation's next words and the service's completions are made here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from models.style_lm.model import StyleLM
from preprocessors.documents.interface import TextTokenizer

TOKENS_OF_A_WORD = 8
"""Most that the next word is looked for in; what is longer is left unfinished."""


class GrowingTexts(Protocol):
    """Of :class:`models.style_lm.steps.LMSteps`, what continuing needs."""

    @property
    def logits(self) -> Tensor:
        """Scores of the next token of each text, float32 (N, V)."""

    def take(self, rows: Tensor, token_ids: Tensor) -> None:
        """Go on with others in their place: each is one of the N, int64 (M,), and a token behind it, int64 (M,)."""


def texts_of_entries(tokenizer: TextTokenizer) -> list[str]:
    """What each entry stands for by itself; "" for BOS, EOS and their like."""
    return [tokenizer.decode([number]) for number in range(len(tokenizer))]


class Entries:
    """The entries of a vocabulary, as what they add to a text.

    Args:
        tokenizer: Of the model.

    Attributes:
        texts: By id; "" for BOS, EOS and their like.
        starts: bool (V,), True for what begins a word, by the white space before it.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.texts = texts_of_entries(tokenizer)
        self.starts = torch.tensor([text[:1].isspace() for text in self.texts])
        self._sorted = sorted((text, number) for number, text in enumerate(self.texts) if text)

    def longer_than(self, beginning: str) -> list[int]:
        """Ids of the entries that begin so and go on; none for an empty beginning."""
        found = []
        for text, number in self._sorted[bisect_left(self._sorted, (beginning, -1)) :] if beginning else ():
            if not text.startswith(beginning):
                break
            if len(text) > len(beginning):
                found.append(number)
        return found


@dataclass
class Continuation:
    """What may follow a text.

    Attributes:
        state: Of the texts that are being continued, the one that it follows.
        tokens: What it is so far, at least one.
        score: Log-probability of its first word so far, nats.
        ended: Whether it has all its words, or the text ends behind it.
    """

    state: int
    tokens: list[int]
    score: float
    ended: bool = False


def likeliest(log_probs: Tensor, allowed: Tensor, num: int) -> list[tuple[int, float]]:
    """The likeliest of the allowed tokens, and their log-probabilities; fewer than ``num`` if there are no more.

    Args:
        log_probs: Of every next token (V,).
        allowed: bool (V,).
        num: Most of them.
    """
    best, tokens = log_probs.masked_fill(~allowed, -torch.inf).topk(min(num, len(log_probs)))
    return [(token, score) for token, score in zip(tokens.tolist(), best.tolist(), strict=True) if score > -torch.inf]


def grow(steps: GrowingTexts, found: Sequence[Continuation], entries: Entries, *, words: int, most: int) -> None:
    """Go on with continuations by the likeliest token each, in place.

    Args:
        steps: The texts, whose places continuations name as their ``state``; of no use afterwards.
        found: Continuations; those that have ended stay as they are.
        entries: Of the vocabulary.
        words: Of each; it ends before the next one.
        most: Tokens of each; what has not ended by then may end within a word.
    """
    live = [one for one in found if not one.ended]
    rows = [one.state for one in live]
    for _ in range(most - 1):
        if not live:
            break
        steps.take(torch.tensor(rows), torch.tensor([one.tokens[-1] for one in live]))
        best, tokens = steps.logits.max(-1)
        scores = best - steps.logits.logsumexp(-1)
        for one, token, score in zip(live, tokens.tolist(), scores.tolist(), strict=True):
            _add(one, token, score, entries, words)
        rows = [row for row, one in enumerate(live) if not one.ended]
        live = [live[row] for row in rows]


def _add(one: Continuation, token: int, score: float, entries: Entries, words: int) -> None:
    """Put a token behind a continuation, unless that ends it."""
    text, is_start = entries.texts[token], bool(entries.starts[token])
    said = len("".join(entries.texts[number] for number in one.tokens).split())
    if not text or (is_start and said >= words):
        one.ended = True
        return
    if said == 0 or (said == 1 and not is_start):
        one.score += score
    one.tokens.append(token)


@torch.no_grad()
def next_words(lm: StyleLM, prompts: Sequence[Sequence[int]], num: int, entries: Entries) -> list[list[str]]:
    """What the model says comes next, the likeliest word first.

    The likeliest first tokens are gone on with; a word's probability is that of its tokens.

    Args:
        lm: In evaluation mode.
        prompts: N texts up to the end of a word, without white space behind it, token ids as of
            :meth:`StyleLM.prompt` with what is there.
        num: Words for each, of which two may turn out to be the same.
        entries: Of the model's vocabulary.

    Returns:
        N lists of words without white space; "" where the text would end.

    Raises:
        ValueError: If the model has no positions for so many tokens.
    """
    steps, eos = lm.steps(prompts, TOKENS_OF_A_WORD), lm.tokenizer.eos_id
    allowed = entries.starts.scatter(0, torch.tensor(eos), value=True).to(steps.logits.device)
    found = [
        [Continuation(row, [token], score, token == eos) for token, score in likeliest(log_probs, allowed, num)]
        for row, log_probs in enumerate(steps.logits.log_softmax(-1))
    ]
    grow(steps, [one for row in found for one in row], entries, words=1, most=TOKENS_OF_A_WORD)
    ordered = [sorted(row, key=lambda one: -one.score) for row in found]
    return [[lm.tokenizer.decode(one.tokens).strip() for one in row] for row in ordered]
