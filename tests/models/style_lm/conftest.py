from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


class Letters:
    """A tokenizer of letters; whatever else is a space."""

    bos_id, eos_id = 0, 1
    letters = " abcdefghijklmnopqrstuvwxyz\n"

    def __len__(self) -> int:
        return 2 + len(self.letters)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[2 + max(0, self.letters.find(letter)) for letter in text] for text in texts]

    def encode_code(self, code: str) -> list[int]:
        return self.encode_batch([code])[0]

    def decode(self, token_ids: Sequence[int]) -> str:
        return "".join(self.letters[number - 2] for number in token_ids if number > 1)

    def digest(self) -> str:
        return "letters"

    def save_to_dir(self, folder: Path) -> None:
        raise NotImplementedError


@pytest.fixture(scope="session")
def letters() -> Letters:
    return Letters()


@pytest.fixture(scope="session")
def tiny_lm(letters: Letters) -> Callable[..., Any]:
    """Builds a language model of one layer with the styles pirate and romantic, over letters."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from models.style_lm import StyleLM
    from preprocessors.text.styles import StyleRegistry

    def build(**options: Any) -> StyleLM:
        torch.manual_seed(3)
        shape = {"n_embd": 24, "n_layer": 2, "n_head": 2, "n_positions": 40, "initializer_range": 0.3}
        special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "vocab_size": len(letters)}
        config = GPT2Config(attn_implementation="sdpa", **special | shape | options)
        return StyleLM(GPT2LMHeadModel(config).eval(), letters, StyleRegistry(["pirate", "romantic"]))

    return build
