"""A trained language model and beginnings to texts, without a trainer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, NamedTuple, Self

from captioning.device import move
from models.style_lm import StyleLM
from models.style_lm.sampling import Sampling, sample_texts
from utils.hub import resolve_model_folder

BATCH_SIZE = 32
USUAL_LENGTH = 64
"""Most tokens of a text, unless more or fewer are asked for; fewer where the model has no positions for so many."""


class Written(NamedTuple):
    """A text, beginning included."""

    text: str
    has_ended: bool
    """By itself, and not at the limit of its length."""


class Wish(NamedTuple):
    """What is to be written."""

    beginning: str
    """Every text begins so."""
    prompt: list[int]
    """What the model reads first, token ids."""
    sampling: Sampling
    settings: dict[str, Any]
    """All that the texts depend on, to stand beside them."""


class TextWriter:
    """Writes texts.

    Args:
        lm: The model, in evaluation mode.
        name: Where it comes from.
    """

    def __init__(self, lm: StyleLM, name: str) -> None:
        self.lm, self.name = lm, name

    @classmethod
    def open(cls, name: str, device: str | None = None) -> Self:
        """Open a model folder, or a hub id.

        Args:
            name: Of it.
            device: Such as ``cuda:1``; None is a GPU where there is one.

        Raises:
            FileNotFoundError: If files are missing.
            ValueError: If it cannot be used, or the device is not there.
        """
        lm = StyleLM.load_from_dir(resolve_model_folder(name))
        move(lm.network, device)
        return cls(lm, name)

    @property
    def styles(self) -> tuple[str, ...]:
        """Those that the model knows; none where any words are a control code."""
        return () if self.lm.registry is None else self.lm.registry.names

    def wish(self, meta: str | None, beginning: str, length: int | None = None, **rules: Any) -> Wish:
        """What is to be written, its rules checked.

        Args:
            meta: Style, or words; None is no control code.
            beginning: Every text begins so; white space behind it is left out, since a word's token holds the space
                before it.
            length: Most tokens of a text; None is ``USUAL_LENGTH``, or what the model has positions for.
            **rules: Of :class:`models.style_lm.sampling.Sampling`.

        Raises:
            ValueError: If there is no such style, a rule is out of range, or the model has no positions for so many
                tokens.
        """
        beginning = beginning.rstrip()
        prompt = [*self.lm.prompt(meta), *self.lm.tokenizer.encode_batch([beginning])[0]]
        room = USUAL_LENGTH if self.lm.positions is None else max(1, self.lm.positions - len(prompt) + 1)
        sampling = Sampling(length or min(USUAL_LENGTH, room), **rules)
        sampling.check()
        self.lm.check_length(len(prompt) + sampling.max_length - 1)
        told = {"model": self.name, "meta": meta, "prompt": beginning} | asdict(sampling)
        return Wish(beginning, prompt, sampling, told)

    def write(self, wish: Wish, number: int, batch_size: int = BATCH_SIZE) -> Iterator[Written]:
        """So many texts, as they are finished; each depends on its settings and its place alone."""
        eos = self.lm.tokenizer.eos_id
        for first in range(0, number, batch_size):
            prompts = [wish.prompt] * min(batch_size, number - first)
            for ids in sample_texts(self.lm, prompts, wish.sampling, first=first):
                text = self.lm.tokenizer.decode(ids)
                yield Written(wish.beginning + text if wish.beginning else text.strip(), ids[-1] == eos)
