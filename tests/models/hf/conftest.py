"""Tiny captioners of transformers, each beside the library's own class on the same folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import open_captioner
from tests.hf_folders import FAMILIES

SIZE, PROMPTS = 32, ["a dog in the sea", "two", "look at a reply"]


@dataclass(frozen=True)
class Case:
    """A family's captioner, and what its class says by itself of one picture and prompt."""

    captioner: Any
    folder: Path
    own: Any
    score: Callable[[Any, Tensor, Sequence[int], Sequence[int]], Tensor]
    generate: Callable[..., list[int]]

    def prompt_ids(self, text: str) -> list[int]:
        """With BOS and EOS, as the preprocessor makes them."""
        tokenizer = self.captioner.tokenizer
        return [tokenizer.bos_token_id, *tokenizer.encode_text(text), tokenizer.eos_token_id]

    def batch(self, *prompts: str) -> dict[str, Tensor]:
        """Pictures of noise with these prompts, filled up on the right."""
        rows = [self.prompt_ids(prompt) for prompt in prompts]
        longest = max(map(len, rows))
        filled = [row + [self.captioner.tokenizer.pad_token_id] * (longest - len(row)) for row in rows]
        pictures = torch.randn(len(rows), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(5))
        return {"input_ids": torch.tensor(filled), "patch_images": pictures}

    def own_logits(self, batch: dict[str, Tensor], row: int, caption: Sequence[int], model: Any = None) -> Tensor:
        """Of each token of a caption, (T, V): the class's own forward pass over one picture, nothing shared."""
        prompt = [token for token in batch["input_ids"][row].tolist() if token != self.captioner.tokenizer.pad_token_id]
        return self.score(model or self.own, batch["patch_images"][row, None], prompt, caption)

    def banned(self) -> list[int]:
        """What captions are never made of."""
        drawable = self.captioner._drawable()
        return [n for n in range(len(self.captioner.tokenizer)) if n >= len(drawable) or not drawable[n]]


@pytest.fixture(scope="module", params=FAMILIES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    family, folder = FAMILIES[request.param], tmp_path_factory.mktemp(request.param)
    own = family.write(folder)
    return Case(open_captioner(folder), folder, own, family.score, family.generate)


@pytest.fixture(scope="module")
def batch(case: Case) -> dict[str, Tensor]:
    """Three pictures with prompts of different lengths."""
    return case.batch(*PROMPTS)


@pytest.fixture(scope="module")
def captions(case: Case) -> Tensor:
    """Two of each picture, of different lengths; the second and the fifth end."""
    eos = case.captioner.tokenizer.eos_token_id
    can = torch.arange(len(case.captioner._drawable()))[case.captioner._drawable()].tolist()
    a, b, c, d = can[2], can[7], can[11], can[20]
    assert eos not in (a, b, c, d)
    return torch.tensor([[a, b, c], [d, eos, -100], [b, b, a], [c, d, a], [eos, -100, -100], [a, d, eos]])
