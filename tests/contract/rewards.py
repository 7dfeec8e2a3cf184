"""Clauses of a reward term."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.contract.clauses import Clause, require
from trainers.rewards.terms import FloatArray, RewardData, Term

REFERENCES = (("a dog runs", "the dog is running"), ("two cats sleep",), ("a red ball on the grass",))
STYLES = ("calm", "romantic", "calm")
HYPOTHESES = ("a dog runs", "two cats", "", "a a a a", "the ball on the red grass", "a dog runs")
ROWS = (0, 1, 1, 2, 2, 1)
ENDED = (True, True, False, False, True, True)


@dataclass
class Subject:
    """What prepares a term."""

    prepare: Callable[[RewardData], Term]

    def values(self, places: Sequence[int]) -> FloatArray:
        """Rewards of some of the captions, by a term that was made for them alone."""
        term = self.prepare(RewardData([[*texts] for texts in REFERENCES], [*STYLES]))
        chosen = [(HYPOTHESES[place], ROWS[place], ENDED[place]) for place in places]
        return term(*map(list, zip(*chosen, strict=True)))


ALL = range(len(HYPOTHESES))


def _numbers(subject: Subject) -> None:
    values = subject.values(ALL)
    require(isinstance(values, np.ndarray), f"it gives {type(values).__name__}, no array of numpy")
    require(values.shape == (len(HYPOTHESES),), f"of {len(HYPOTHESES)} captions it gives an array of {values.shape}")
    require(np.issubdtype(values.dtype, np.floating), f"its numbers are {values.dtype}, no floats")
    require(np.isfinite(values).all(), f"of {HYPOTHESES[int(np.argmin(np.isfinite(values)))]!r} it gives no number")


def _each_alone(subject: Subject) -> None:
    together = subject.values(ALL)
    for place in ALL:
        (alone,) = subject.values([place])
        what = f"{HYPOTHESES[place]!r} is worth {alone:.6g} alone and {together[place]:.6g} among others"
        require(np.isclose(alone, together[place], rtol=1e-4, atol=1e-5), what)


def _in_any_order(subject: Subject) -> None:
    backwards = subject.values([*reversed(ALL)])
    require(
        np.allclose(backwards[::-1], subject.values(ALL), rtol=1e-4, atol=1e-5), "another order gives other numbers"
    )


CLAUSES = (
    Clause("a term gives a finite number for each caption, the empty one too", _numbers),
    Clause("what a caption is worth does not depend on those beside it", _each_alone),
    Clause("nor on their order", _in_any_order),
)
