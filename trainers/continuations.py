"""Sequence-level unlikelihood: the model goes on with the beginnings of documents, and unlearns what it repeats.

Source:
    Welleck et al. 2019, arXiv:1908.04319, section 5.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from models.style_lm import token_log_probs
from models.style_lm.steps import LMSteps
from preprocessors.collator import IGNORE_INDEX
from preprocessors.documents.interface import TextTokenizer
from trainers.losses.unlikelihood import repeated_ngrams, sequence_unlikelihood

PREFIX, CONTINUATION, NGRAM = 50, 100, 4
"""Tokens that the model is given, that it writes, and of what it is not to repeat, as in the paper's experiments. Of
shorter documents half is given; with few positions less is written."""
SHORTEST_PREFIX = 2
"""Of a document that is gone on with."""


class TextModel(Protocol):
    """What text training asks of :class:`models.style_lm.StyleLM`."""

    network: Any
    """The causal language model of transformers that is trained."""
    tokenizer: TextTokenizer

    @property
    def positions(self) -> int | None:
        """Most tokens of a document with BOS, control code and EOS."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    def steps(self, prompts: Sequence[Sequence[int]], most: int) -> LMSteps:
        """Begin texts that grow by at most so many tokens."""


class SequenceLoss(NamedTuple):
    """Of the continuations of a micro-batch."""

    loss: Tensor
    """Sum over what was written, nats, with gradient."""
    repeated: Tensor
    """Tokens in n-grams that stood in their continuation before."""
    written: Tensor
    """Tokens that were written, EOS included."""


class Continuations:
    """Greedy continuations of a language model's documents.

    Args:
        lm: The model.

    Attributes:
        length: Most tokens of one.
    """

    def __init__(self, lm: TextModel) -> None:
        positions = lm.positions or PREFIX + CONTINUATION
        self.lm, self.length = lm, min(CONTINUATION, positions // 2)
        self._most = min(PREFIX, positions - self.length)

    def prefixes(self, batch: Mapping[str, Tensor]) -> list[list[int]]:
        """Beginnings of the documents of a micro-batch that are learnt there and seen from their first token on."""
        found = []
        names = ("token_ids", "document_ids", "position_ids", "targets")
        for ids, documents, positions, targets in zip(*(batch[name] for name in names), strict=True):
            begun = documents[(positions == 0) & (documents >= 0)].unique().tolist()
            learnt = {*documents[targets.ne(IGNORE_INDEX)].tolist()}
            for document in (number for number in begun if number in learnt):
                own = ids[documents == document].tolist()
                if (length := min(self._most, len(own) // 2)) >= SHORTEST_PREFIX:
                    found.append(own[:length])
        return found

    def loss(self, model: nn.Module, prefixes: Sequence[Sequence[int]]) -> SequenceLoss:
        """Unlikelihood of repeated n-grams.

        Args:
            model: The network, or what wraps it.
            prefixes: Of :meth:`prefixes`; of none the loss is 0, and the wrapper is called all the same, since other
                processes may wait for this one.
        """
        given = prefixes or [[self.lm.tokenizer.bos_id]]
        self.lm.network.eval()  # what it would write, without dropout
        written = self._write(given)
        self.lm.network.train()
        if not prefixes:
            written.fill_(IGNORE_INDEX)
        entries = self.lm.network.config.vocab_size  # as cross-entropy sees them
        log_probs = token_log_probs(model, given, written, filler=self.lm.tokenizer.eos_id, entries=entries)
        repeated = repeated_ngrams(written, NGRAM)
        return SequenceLoss(sequence_unlikelihood(log_probs, repeated), repeated.sum(), written.ne(IGNORE_INDEX).sum())

    @torch.no_grad()
    def _write(self, prefixes: Sequence[Sequence[int]]) -> Tensor:
        """Greedy continuations with EOS, int64 (N, T), filled up with -100."""
        steps, columns = self.lm.steps(prefixes, self.length), list[Tensor]()
        ended = torch.zeros(len(prefixes), dtype=torch.bool, device=self.lm.device)
        everyone = torch.arange(len(prefixes), device=self.lm.device)
        while True:
            chosen = steps.logits.argmax(-1)
            columns.append(chosen.masked_fill(ended, IGNORE_INDEX))
            ended |= chosen == self.lm.tokenizer.eos_id
            if len(columns) == self.length or bool(ended.all()):
                return torch.stack(columns, 1)
            steps.take(everyone, chosen)
