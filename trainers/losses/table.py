"""The losses on people's captions that stand beside cross-entropy: one function and one entry each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from torch import Tensor

from trainers.losses.unlikelihood import leakage_unlikelihood, repetition_unlikelihood


class LossTerm(NamedTuple):
    """A loss on human captions.

    It is off where its weight is 0. Its number stands unweighted, in nats per token, in ``metrics.jsonl`` as
    ``train/<name>`` and on the report's page under its label.
    """

    label: str
    weight: str
    """Dotted key of the setting that weighs it."""
    compute: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    """Takes logits (B, T, V), labels (B, T) with ``-100`` where nothing counts, and bool (B, V), True for the tokens of
    other styles (None where nobody asked for them); gives a sum over tokens, with gradient."""
    needs_foreign: bool = False
    """Whether it looks at the tokens of other styles."""


def _repetition(logits: Tensor, labels: Tensor, foreign: Tensor | None) -> Tensor:
    return repetition_unlikelihood(logits, labels)


def _leakage(logits: Tensor, labels: Tensor, foreign: Tensor | None) -> Tensor:
    if foreign is None:
        raise ValueError("unlikelihood_leakage needs the tokens of other styles")
    return leakage_unlikelihood(logits, labels, foreign)


LOSS_TERMS: Mapping[str, LossTerm] = {
    "unlikelihood_repetition": LossTerm("Repeated tokens", "unlikelihood.repetition", _repetition),
    "unlikelihood_leakage": LossTerm("Other styles' words", "unlikelihood.leakage", _leakage, needs_foreign=True),
}
"""By the name under which it is logged, in the order in which they are added."""
