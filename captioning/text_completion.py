"""The likeliest continuations of half-written texts, by a language model and without a picture."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import DynamicCache

from captioning.completion import LEAST_SHARE
from captioning.device import move
from models.style_lm import StyleLM
from models.style_lm.steps import LMSteps
from models.style_lm.words import Continuation, Entries, grow, likeliest

WORDS = 3
"""Of a continuation, at most."""
MOST_TOKENS = 12
"""Of a continuation; what goes on for longer ends at its last whole word."""
LATEST = 32
"""Texts whose state is kept, one for each of so many people: who types asks at every key."""


class Asked(NamedTuple):
    """What is to be continued."""

    text: str
    """What is written; its last word may be half."""
    style: str | None
    """As of :meth:`models.style_lm.StyleLM.prompt`."""
    num: int
    """Most continuations."""


class _Read(NamedTuple):
    """A text as the network reads it."""

    ids: list[int]
    """From BOS on."""
    typed: int
    """Tokens of the last word, which may be half; 0 where white space is behind it."""
    space: str
    """That white space."""
    at_start: bool
    """Whether nothing is written yet."""
    num: int


@dataclass
class _Begun:
    """A continuation, and how many letters of it the person has typed already."""

    grown: Continuation
    skip: int


class TextCompletion:
    """Continues texts; may be called from several threads, which take turns.

    A text passes the network once, and what it has in common with one of the latest not even that. The likeliest next
    tokens are continued greedily, those of all texts together. The last word may be half typed, which no token of the
    text says: where a longer entry of the vocabulary begins with it, that one is continued too, with its own chances.

    Behind white space, what it proposes are :func:`models.style_lm.words.next_words`, each with the words behind it:
    the evaluation's next words, but for the end, which is no help to who writes, and for what hardly ever comes.

    Args:
        lm: In evaluation mode.
    """

    def __init__(self, lm: StyleLM) -> None:
        self.lm = lm
        self._latest: OrderedDict[tuple[int, ...], DynamicCache] = OrderedDict()
        self._turn = threading.Lock()

    def check(self, style: str | None) -> None:
        """Refuse a style before anything is done.

        Raises:
            ValueError: If the model does not know it, or has no positions behind it.
        """
        self.lm.check_length(len(self.lm.prompt(style)) + MOST_TOKENS)

    def __call__(self, text: str, style: str | None, num: int) -> list[str]:
        """Continuations of one text, see :meth:`complete`."""
        return self.complete([Asked(text, style, num)])[0]

    @torch.inference_mode()
    def complete(self, asked: Sequence[Asked]) -> list[list[str]]:
        """Continuations of several texts, worked on together.

        White space at the end of a text is not read, since no entry of a vocabulary ends with it; a word begins there.

        Returns:
            For each text what is to be appended, at most three words, the likeliest next word first; nothing where the
            text has likely ended. What hardly ever comes is left out, as in :mod:`captioning.completion`.

        Raises:
            ValueError: If the model does not know a style, or has no positions behind it.
        """
        texts = [self._read(*one) for one in asked]
        with self._turn:
            states: list[tuple[DynamicCache, int]] = []
            begun = [self._begin(text, states) for text in texts]
            if states:
                steps = LMSteps.behind(self.lm.network, states, len(self.lm.tokenizer))
                continuations = [one.grown for ones in begun for one in ones]
                grow(steps, continuations, self._entries, words=WORDS, most=MOST_TOKENS)
        return [self._told(text, ones) for text, ones in zip(texts, begun, strict=True)]

    @cached_property
    def _entries(self) -> Entries:
        return Entries(self.lm.tokenizer)

    @cached_property
    def _written(self) -> Tensor:
        """Of each entry (V,), True for what a continuation may begin with: no special entries and no cut letters."""
        return torch.tensor([text != "" and "\ufffd" not in text for text in self._entries.texts])

    def _read(self, text: str, style: str | None, num: int) -> _Read:
        self.check(style)
        prompt, stripped = self.lm.prompt(style), text.rstrip()
        body = self.lm.tokenizer.encode_batch([stripped])[0]
        if self.lm.positions is not None:
            body = body[max(0, len(body) + len(prompt) + MOST_TOKENS - self.lm.positions) :]
        space, typed = text[len(stripped) :], 0
        if not space:
            inside = len([*takewhile(lambda number: not self._entries.starts[number], reversed(body))])
            typed = min(inside + 1, len(body))
        return _Read([*prompt, *body], typed, space, not body, num)

    def _prefill(self, ids: list[int], last: int) -> tuple[DynamicCache, Tensor]:
        """State behind a text, which is kept, and log-probabilities (last, V) behind each of its last tokens."""
        known, before = 0, None
        for earlier in self._latest:
            common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(earlier, ids, strict=False)))
            if (common := min(common, len(ids) - last)) > known:
                known, before = common, earlier
        cache = DynamicCache()
        if before is not None:
            cache = _beginning(self._latest[before], known)
            if known >= len(before) - last:  # the same person, some keys later
                del self._latest[before]
        device = self.lm.device
        logits: Tensor = self.lm.network(
            input_ids=torch.tensor([ids[known:]], device=device),
            position_ids=torch.arange(known, len(ids), device=device)[None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=last,
        ).logits[0, :, : len(self.lm.tokenizer)]
        self._latest[tuple(ids)] = cache
        self._latest.move_to_end(tuple(ids))
        while len(self._latest) > LATEST:
            self._latest.popitem(last=False)
        return cache, logits.float().log_softmax(-1).cpu()

    def _begin(self, text: _Read, states: list[tuple[DynamicCache, int]]) -> list[_Begun]:
        """The likeliest next tokens, behind the text and in place of its last word; none if the text has ended.

        What they go on from is put behind ``states``.
        """
        cache, log_probs = self._prefill(text.ids, text.typed + 1)
        if log_probs[-1, self.lm.tokenizer.eos_id].exp() > 0.5:
            return []
        typed = text.ids[len(text.ids) - text.typed :]
        of_word = sum(log_probs[place, number].item() for place, number in enumerate(typed))
        word = "".join(self._entries.texts[number] for number in typed)
        longer = torch.zeros_like(self._written)
        longer[self._entries.longer_than(word)] = True
        allowed = self._written & self._entries.starts if text.space and not text.at_start else self._written
        found = [(of_word + score, token, 0) for token, score in likeliest(log_probs[-1], allowed, text.num)]
        found += [(score, token, text.typed) for token, score in likeliest(log_probs[0], longer, text.num)]
        found = sorted(found, reverse=True)[: text.num]
        places = {back: len(states) + place for place, back in enumerate(dict.fromkeys(back for *_, back in found))}
        states += [(cache, len(text.ids) - back) for back in places]
        return [
            _Begun(Continuation(places[back], [token], score), len(word) if back else 0) for score, token, back in found
        ]

    def _told(self, text: _Read, begun: Sequence[_Begun]) -> list[str]:
        least = max((one.grown.score for one in begun), default=0.0) + math.log(LEAST_SHARE)
        ordered = sorted((one for one in begun if one.grown.score >= least), key=lambda one: -one.grown.score)
        return [one for one in dict.fromkeys(self._shown(text, one) for one in ordered) if one.strip()]

    def _shown(self, text: _Read, one: _Begun) -> str:
        told = self.lm.tokenizer.decode(one.grown.tokens)[one.skip :]
        if not one.grown.ended and len(told.split()) > 1:  # its last word may lack an end
            told = told[: max(place for place, letter in enumerate(told) if letter.isspace())]
        return told.lstrip(f"{text.space} ") if text.space else told


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


def _beginning(cache: DynamicCache, length: int) -> DynamicCache:
    """The state behind the first tokens of a text."""

    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        for layer in cache.layers:
            yield layer.keys[:, :, :length], layer.values[:, :, :length]

    return DynamicCache([*parts()])
