"""The likeliest continuations of a half-written text, by a language model and without a picture."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor
from transformers import DynamicCache

from captioning.completion import LEAST_SHARE
from captioning.device import move
from models.style_lm import StyleLM
from models.style_lm.words import texts_of_entries

WORDS = 3
"""Of a continuation, at most."""
TOKENS_OF_A_WORD = 4
"""Most on average; what goes on for longer ends at its last whole word."""
LATEST = 16
"""Texts whose state is kept: a person asks at every key."""


@dataclass
class Row:
    """A continuation that grows.

    Attributes:
        tokens: Behind what is read of the text.
        skip: Letters of theirs that the person has typed already.
        score: Log-probability of its first word, nats.
        from_word: Whether it begins again at the last word, instead of what is typed of it.
        ended: Whether nothing may come any more.
    """

    tokens: list[int]
    skip: int
    score: float
    from_word: bool
    ended: bool = False


class TextCompletion:
    """Continues texts; may be called from several threads, which take turns.

    A text passes the network once, and what it has in common with one of the latest not even that. The likeliest next
    tokens are continued greedily, all together. The last word may be half typed, which no token of the text says: where
    a longer entry of the vocabulary begins with it, that one is continued too, with its own chances.

    Args:
        lm: In evaluation mode.
    """

    def __init__(self, lm: StyleLM) -> None:
        self.lm = lm
        self._most_tokens = WORDS * TOKENS_OF_A_WORD
        self._latest: OrderedDict[tuple[int, ...], DynamicCache] = OrderedDict()
        self._turn = threading.Lock()

    @torch.no_grad()
    def __call__(self, text: str, style: str | None, num: int) -> list[str]:
        """Continuations of a text.

        Args:
            text: What is written; white space at its end is not read, since no entry of a vocabulary ends with it.
            style: As of :meth:`models.style_lm.StyleLM.prompt`.
            num: Most of them.

        Returns:
            What is to be appended, at most three words, the likeliest next word first; none where the text has likely
            ended. What hardly ever comes is left out, as in :mod:`captioning.completion`.

        Raises:
            ValueError: If the model does not know the style, or has no positions behind it.
        """
        prompt, stripped = self.lm.prompt(style), text.rstrip()
        self.lm.check_length(len(prompt) + self._most_tokens)
        body = self.lm.tokenizer.encode_batch([stripped])[0]
        if self.lm.positions is not None:
            body = body[max(0, len(body) + len(prompt) + self._most_tokens - self.lm.positions) :]
        ids, typed = [*prompt, *body], 0
        if stripped == text:
            typed = self._tokens_of_last_word(body)
        with self._turn:
            cache, log_probs = self._prefill(ids, typed + 1)
            rows = self._begin(log_probs, ids, typed, num)
            self._continue(cache, rows, len(ids), typed)
        found = {self._shown(row, text != stripped): None for row in sorted(rows, key=lambda row: -row.score)}
        return [one for one in found if one.strip()][:num]

    @cached_property
    def _pieces(self) -> list[str]:
        """Text of each entry; none of BOS, EOS and their like."""
        return texts_of_entries(self.lm.tokenizer)

    @cached_property
    def _starts_word(self) -> list[bool]:
        return [piece[:1].isspace() or not piece for piece in self._pieces]

    @cached_property
    def _unwritten(self) -> Tensor:
        """Of each entry (V,), True for what no continuation begins with: special entries and cut letters."""
        return torch.tensor([not piece or "\ufffd" in piece for piece in self._pieces])

    def _tokens_of_last_word(self, body: Sequence[int]) -> int:
        inside = len([*takewhile(lambda number: not self._starts_word[number], reversed(body))])
        return min(inside + 1, len(body))

    def _prefill(self, ids: list[int], last: int) -> tuple[DynamicCache, Tensor]:
        """State behind a text, which is kept, and log-probabilities (last, V) behind each of its last tokens."""
        known, cache = 0, DynamicCache()
        for earlier, kept in self._latest.items():
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(earlier, ids, strict=False)))
            if (common := min(common, len(ids) - last)) > known:
                known, cache = common, kept
        cache = _copied(cache, known, 1)
        logits = self._look(cache, [ids[known:]], [[*range(known, len(ids))]], None)[0, -last:]
        self._latest[tuple(ids)] = cache
        self._latest.move_to_end(tuple(ids))
        while len(self._latest) > LATEST:
            self._latest.popitem(last=False)
        return cache, logits.log_softmax(-1)

    def _begin(self, log_probs: Tensor, ids: list[int], typed: int, num: int) -> list[Row]:
        """The likeliest next tokens, behind the text and in place of its last word; none if the text has ended."""
        word = "".join(self._pieces[number] for number in ids[len(ids) - typed :])
        of_word = [log_probs[place, number].item() for place, number in enumerate(ids[len(ids) - typed :])]
        behind = log_probs[-1].masked_fill(self._unwritten.to(log_probs.device), -torch.inf)
        if log_probs[-1, self.lm.tokenizer.eos_id].exp() > 0.5:
            return []
        best, tokens = behind.topk(min(num, len(behind)))
        rows = [
            Row([token], 0, sum(of_word) + score, from_word=False)
            for score, token in zip(best.tolist(), tokens.tolist(), strict=True)
        ]
        longer = [n for n, piece in enumerate(self._pieces) if len(piece) > len(word) and piece.startswith(word)]
        if word and longer:
            best, places = log_probs[0, longer].topk(min(num, len(longer)))
            rows += [
                Row([longer[place]], len(word), score, from_word=True)
                for score, place in zip(best.tolist(), places.tolist(), strict=True)
            ]
        least = max((row.score for row in rows), default=0.0) + math.log(LEAST_SHARE)
        return sorted((row for row in rows if row.score >= least), key=lambda row: -row.score)[:num]

    def _continue(self, cache: DynamicCache, rows: list[Row], length: int, typed: int) -> None:
        """Let rows grow, in place, until each has its words."""
        if not rows:
            return
        cache = _copied(cache, length, len(rows))
        seen = torch.ones(len(rows), length, dtype=torch.bool)
        behind = [length - typed * row.from_word for row in rows]
        for number, at in enumerate(behind):
            seen[number, at:] = False
        for number in range(self._most_tokens):
            if all(row.ended for row in rows):
                break
            seen = torch.cat([seen, seen.new_ones(len(rows), 1)], 1)
            latest, places = [[row.tokens[-1]] for row in rows], [[at + number] for at in behind]
            scores, tokens = self._look(cache, latest, places, seen[:, None, None]).log_softmax(-1)[:, -1].max(-1)
            for row, score, token in zip(rows, scores.tolist(), tokens.tolist(), strict=True):
                self._grow(row, token, score)

    def _grow(self, row: Row, token: int, score: float) -> None:
        words = self._text(row).split()
        if self._starts_word[token] and len(words) == WORDS or not self._pieces[token]:
            row.ended = True
        if len(words) < 2 and not (words and self._starts_word[token]):
            row.score += score
        row.tokens.append(self.lm.tokenizer.eos_id if row.ended else token)

    def _text(self, row: Row) -> str:
        return self.lm.tokenizer.decode(row.tokens)

    def _shown(self, row: Row, after_space: bool) -> str:
        text = self._text(row)[row.skip :]
        if not row.ended and len(text.split()) > 1:  # its last word may lack an end
            text = text[: max(place for place, letter in enumerate(text) if letter.isspace())]
        return text.lstrip(" ") if after_space else text

    def _look(
        self, cache: DynamicCache, tokens: list[list[int]], places: list[list[int]], mask: Tensor | None
    ) -> Tensor:
        """Logits (N, L, V) of what comes behind tokens, in float32."""
        device = self.lm.device
        logits: Tensor = self.lm.network(
            input_ids=torch.tensor(tokens, device=device),
            position_ids=torch.tensor(places, device=device),
            attention_mask=None if mask is None else mask.to(device),
            past_key_values=cache,
            use_cache=True,
        ).logits
        return logits[..., : len(self._pieces)].float()


def open_text_completion(folder: Path, device: str | None = None) -> TextCompletion:
    """Of a model folder.

    Args:
        folder: Of a language model.
        device: Such as ``cpu`` or ``cuda:1``; None is a GPU where there is one.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If they are damaged, or there is no such device.
        NoNumbers: If a weight is NaN or infinite.
    """
    lm = StyleLM.load_from_dir(folder)
    move(lm.network, device)
    return TextCompletion(lm)


def _copied(cache: DynamicCache, length: int, rows: int) -> DynamicCache:
    """The state behind the first tokens of a text, for several that go on from there."""

    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        for layer in cache.layers if length else ():
            keys, values = layer.keys[:, :, :length], layer.values[:, :, :length]
            yield keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)

    return DynamicCache([*parts()])
