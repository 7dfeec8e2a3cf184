"""Texts drawn from a language model, many at once over a cache, with the rules that transformers' ``generate`` has."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.drawing import draw
from models.style_lm.model import StyleLM

WIDTHS = (128, 2048)
"""Likeliest tokens in which a nucleus is looked for, one number after the other, before all are sorted."""
COLDEST, HOTTEST = 1e-30, 1e30
"""Temperatures beyond which float32 has no numbers, and nothing changes any more."""
SPARSE = 0.5
"""Share of the texts that are still being written at which those that have ended are left out."""


@dataclass(frozen=True)
class Sampling:
    """How texts are drawn; recorded beside them.

    Attributes:
        max_length: Most tokens of a text behind its prompt, EOS included.
        temperature: Divides the logits.
        top_k: Drawn from so many likeliest tokens; None is all of them, 1 is greedy.
        top_p: Drawn from the likeliest tokens that together have this probability.
        repetition_penalty: Logits of tokens that prompt or text have already are divided by it, or multiplied where
            they are negative; 1 is off (Keskar et al. 2019, arXiv:1909.05858).
        no_repeat_ngram_size: No n-gram of this length occurs twice, in prompt and text together; 0 is off.
        seed: A text depends on it, its place and its prompt, and on nothing else.
    """

    max_length: int = 64
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int = 0

    def check(self) -> None:
        """Refuse what is out of range.

        Raises:
            ValueError: Naming the first such number, and its range.
        """
        ranges = {
            "max_length": (self.max_length >= 1, "at least 1"),
            "temperature": (self.temperature > 0, "above 0; top_k=1 is greedy"),
            "top_k": (self.top_k is None or self.top_k >= 1, "at least 1"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0; 1 is off"),
            "no_repeat_ngram_size": (self.no_repeat_ngram_size >= 0, "at least 0, which is off"),
            "seed": (abs(self.seed) < 1 << 63, "a number of at most 63 bits"),
        }
        for name, (is_right, what) in ranges.items():
            if not is_right:
                raise ValueError(f"{name}={getattr(self, name)}: must be {what}")


@torch.no_grad()
def sample_texts(
    lm: StyleLM, prompts: Sequence[Sequence[int]], sampling: Sampling, *, first: int = 0
) -> list[list[int]]:
    """Write on from prompts.

    Args:
        lm: In evaluation mode.
        prompts: N beginnings, token ids as of :meth:`StyleLM.prompt` with what the text begins with.
        sampling: The rules.
        first: Place of the first of them, where they are a part of many.

    Returns:
        N continuations, token ids; one that came to its end by itself has EOS last.

    Raises:
        ValueError: If a setting is out of range, or the model has no positions for so many tokens.
    """
    sampling.check()
    if not prompts:
        return []
    steps = lm.steps(prompts, sampling.max_length)
    uniforms = torch.stack([_uniforms(sampling, first + place) for place in range(len(prompts))]).to(lm.device)  # N T 2
    texts = [_Text(prompt, sampling.no_repeat_ngram_size, lm.tokenizer.eos_id) for prompt in prompts]
    going, rows = texts, torch.arange(len(texts), device=lm.device)
    for position in range(sampling.max_length):
        chosen = _choose(_ruled(steps.logits, going, sampling), uniforms[rows, position], sampling)
        for text, token in zip(going, chosen.tolist(), strict=True):
            text.add(token)
        left = [place for place, text in enumerate(going) if not text.has_ended]
        if not left or position + 1 == sampling.max_length:
            break
        if len(left) > SPARSE * len(going):
            left = [*range(len(going))]
        kept = torch.tensor(left, device=lm.device)
        steps.take(kept, chosen[kept])
        going, rows = [going[place] for place in left], rows[kept]
    return [text.ids[text.begins :] for text in texts]


class _Text:
    """A text that is being written, with the n-grams in it."""

    def __init__(self, prompt: Sequence[int], n: int, eos: int) -> None:
        self.ids, self.begins, self.has_ended = [*prompt], len(prompt), False
        self._n, self._eos = n, eos
        self._following: dict[tuple[int, ...], list[int]] = {}
        for end in range(n, len(prompt) + 1):
            self._note(end)

    def add(self, token: int) -> None:
        """Put a token behind it, unless it has ended."""
        if self.has_ended:
            return
        self.ids.append(token)
        self.has_ended = token == self._eos
        if self._n and len(self.ids) >= self._n:
            self._note(len(self.ids))

    def banned(self) -> list[int]:
        """Tokens that would end an n-gram that it has already."""
        if self._n == 0 or len(self.ids) < self._n - 1:
            return []
        return self._following.get(tuple(self.ids[len(self.ids) - self._n + 1 :]), [])

    def _note(self, end: int) -> None:
        if self._n:
            self._following.setdefault(tuple(self.ids[end - self._n : end - 1]), []).append(self.ids[end - 1])


def _uniforms(sampling: Sampling, place: int) -> Tensor:
    generator = torch.Generator().manual_seed(random.Random(f"{sampling.seed}/text/{place}").getrandbits(63))
    return torch.rand(sampling.max_length, 2, dtype=torch.float64, generator=generator)


def _ruled(scores: Tensor, texts: Sequence[_Text], sampling: Sampling) -> Tensor:
    """Scores (N, V) after the rules about what texts have already; overwritten."""
    if sampling.repetition_penalty != 1.0:
        longest = max(len(text.ids) for text in texts)
        held = torch.tensor([text.ids + text.ids[:1] * (longest - len(text.ids)) for text in texts])
        held = held.to(scores.device)
        found = scores.gather(1, held)
        punished = torch.where(found < 0, found * sampling.repetition_penalty, found / sampling.repetition_penalty)
        scores.scatter_(1, held, punished)
    if sampling.no_repeat_ngram_size:
        for row, text in enumerate(texts):
            if banned := text.banned():
                scores[row, banned] = -torch.inf
    return scores


def _choose(scores: Tensor, uniforms: Tensor, sampling: Sampling) -> Tensor:
    """A token for each row of scores (N, V), which are overwritten, by two random numbers each (N, 2); int64 (N,)."""
    if sampling.top_k == 1:
        return scores.argmax(-1)
    # The likeliest is at 0: a low temperature would make infinities of others, whose differences are no numbers.
    logits = scores.sub_(scores.amax(-1, keepdim=True)).div_(min(max(sampling.temperature, COLDEST), HOTTEST))
    if sampling.top_k is not None:
        values, ids = logits.topk(min(sampling.top_k, logits.shape[1]))
        if sampling.top_p < 1.0:
            values = _within(values, values.logsumexp(-1), sampling.top_p)
        return ids.gather(1, draw(values, uniforms[:, 0])[:, None])[:, 0]
    if sampling.top_p == 1.0:
        return draw(logits, uniforms[:, 0])
    return _choose_from_nucleus(logits, uniforms, sampling.top_p)


def _choose_from_nucleus(logits: Tensor, uniforms: Tensor, top_p: float) -> Tensor:
    """As :func:`_choose`, without sorting: what is drawn from all tokens is mostly among the likeliest already.

    A token is if those that are likelier have less than ``top_p`` together. Where it is not, the second random number
    draws from those that are, so that either way they have the chances that they should.
    """
    weights = logits.clone()
    chosen = draw(weights, uniforms[:, 0])  # which leaves in place of the logits what they are in proportion to
    likelier = weights > weights.gather(1, chosen[:, None])
    outside = (weights * likelier).sum(-1) >= top_p * weights.sum(-1)
    if bool(outside.any()):
        values, ids = _likeliest(logits[outside], top_p)
        chosen[outside] = ids.gather(1, draw(values, uniforms[outside, 1])[:, None])[:, 0]
    return chosen


def _likeliest(logits: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The tokens of a nucleus, likeliest first: logits, ``-inf`` behind the last, and ids, both (N, C)."""
    log_total = logits.logsumexp(-1)
    for width in (width for width in WIDTHS if width < logits.shape[1]):
        values, ids = logits.topk(width)
        if bool(((values - log_total[:, None]).exp().sum(-1) >= top_p).all()):
            return _within(values, log_total, top_p), ids
    values, ids = logits.sort(descending=True)
    return _within(values, log_total, top_p), ids


def _within(values: Tensor, log_total: Tensor, top_p: float) -> Tensor:
    """Logits, the highest first, ``-inf`` behind those that reach a share of what ``log_total`` (N,) is the log of."""
    p = (values - log_total[:, None]).exp()
    return values.masked_fill(p.cumsum(-1) - p >= top_p, -torch.inf)
