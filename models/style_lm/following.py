"""Scores of texts that somebody else grows, a token at a time, over a cache that follows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.style_lm.model import StyleLM
from models.style_lm.steps import LMSteps


class _Text(NamedTuple):
    """What is read once, however many rows say it."""

    prompt: int
    tokens: tuple[int, ...]


class Following:
    """What a language model says of the next tokens of texts that another model chooses.

    Nobody tells it which texts go on from which: it finds each among those of the call before by what it says. So beams
    may be put in another order and samples may end. Equal texts behind one prompt are read once, and ended ones not at
    all; texts that go on from none of those before are read from their beginning.

    Args:
        lm: In evaluation mode.
        prompts: B beginnings that the texts are read behind, token ids as of :meth:`StyleLM.prompt`.
    """

    def __init__(self, lm: StyleLM, prompts: Sequence[Sequence[int]]) -> None:
        self.lm, self._prompts = lm, [*dict.fromkeys(map(tuple, prompts))]
        self._prompt_of = [self._prompts.index(tuple(prompt)) for prompt in prompts]
        self._steps: LMSteps | None = None
        self._rows: dict[_Text, int] = {}

    def log_probs(self, token_ids: Tensor) -> Tensor:
        """Of every next token.

        Args:
            token_ids: Texts without their prompts, int64 (N, T), N a multiple of B: those behind one prompt stand
                together. One that has EOS in it has ended; what is below 0 is no token.

        Returns:
            float32 (N, V), nats; zeros for texts that have ended.

        Raises:
            ValueError: If the model has no positions for so many tokens.
        """
        given, eos = token_ids.tolist(), self.lm.tokenizer.eos_id
        behind = max(1, len(given) // len(self._prompt_of))
        texts = [
            None if eos in row else _Text(self._prompt_of[number // behind], tuple(n for n in row if n >= 0))
            for number, row in enumerate(given)
        ]
        rows = {text: row for row, text in enumerate(dict.fromkeys(text for text in texts if text is not None))}
        if not rows:
            return torch.zeros(len(given), len(self.lm.tokenizer), device=token_ids.device)
        self._steps, self._rows = self._read(rows), rows
        found = self._steps.log_probs
        if len(rows) == len(given):
            return found
        places = torch.tensor([rows[text] if text is not None else 0 for text in texts], device=found.device)
        ended = torch.tensor([text is None for text in texts], device=found.device)
        return found[places].masked_fill_(ended[:, None], 0.0)

    def _read(self, rows: dict[_Text, int]) -> LMSteps:
        """A state with these texts in their order."""
        before = [self._rows.get(_Text(text.prompt, text.tokens[:-1])) if text.tokens else None for text in rows]
        known = [row for row in before if row is not None]
        if self._steps is None or len(known) < len(rows):
            return self.lm.steps([[*self._prompts[text.prompt], *text.tokens] for text in rows], most=1)
        self.lm.check_length(max(len(self._prompts[text.prompt]) + len(text.tokens) for text in rows))
        self._steps.take(torch.tensor(known), torch.tensor([text.tokens[-1] for text in rows]))
        return self._steps
