"""The next words of texts: the likeliest tokens that begin one, each gone on with to the word's end."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.style_lm.model import StyleLM
from preprocessors.documents.interface import TextTokenizer

TOKENS_OF_A_WORD = 8
"""Most that a word is looked for in; what is longer is left unfinished."""


def texts_of_entries(tokenizer: TextTokenizer) -> list[str]:
    """What each entry stands for by itself; "" for BOS, EOS and their like."""
    return [tokenizer.decode([number]) for number in range(len(tokenizer))]


def word_starts(tokenizer: TextTokenizer) -> Tensor:
    """Which entries begin a word, by the white space before it; bool (V,)."""
    return torch.tensor([text[:1].isspace() for text in texts_of_entries(tokenizer)])


@torch.no_grad()
def next_words(lm: StyleLM, prompts: Sequence[Sequence[int]], num: int, starts: Tensor) -> list[list[str]]:
    """What the model says comes next, likeliest first.

    Args:
        lm: In evaluation mode.
        prompts: N texts up to the end of a word, without white space behind it, token ids as of
            :meth:`StyleLM.prompt` with what is there.
        num: Words for each, of which two may turn out to be the same.
        starts: Of :func:`word_starts`.

    Returns:
        N lists of words without white space; "" where the text would end.

    Raises:
        ValueError: If the model has no positions for so many tokens.
    """
    steps = lm.steps(prompts, TOKENS_OF_A_WORD)
    starts, eos = starts.to(lm.device), lm.tokenizer.eos_id
    ends = starts.clone()
    ends[eos] = True
    rows = torch.arange(len(prompts), device=lm.device).repeat_interleave(num)
    chosen = steps.logits.masked_fill(~ends, -torch.inf).topk(num).indices.flatten()  # (N * num,)
    columns, ended = [chosen], chosen == eos
    for _ in range(TOKENS_OF_A_WORD - 1):
        if bool(ended.all()):
            break
        steps.take(rows, chosen)
        rows = torch.arange(len(chosen), device=lm.device)
        chosen = steps.logits.argmax(-1)
        ended |= ends[chosen]
        columns.append(chosen.masked_fill(ended, eos))
    ids = torch.stack(columns, 1).tolist()
    words = [lm.tokenizer.decode([number for number in row if number != eos]).strip() for row in ids]
    return [words[start : start + num] for start in range(0, len(words), num)]
