"""A reward term is one function and one entry: configuration, calculator and log follow."""

from __future__ import annotations

import numpy as np
import pytest

from trainers.rewards.setup import build_rewards
from trainers.rewards.table import REWARD_TERMS
from trainers.rewards.terms import RewardData, RewardRequest, Term


def shouting(data: RewardData) -> Term:
    """1 for a caption as long as its row's first reference, else 0."""
    lengths = [len(texts[0].split()) for texts in data.references]
    return lambda hypotheses, rows, ended: np.array(
        [float(len(text.split()) == lengths[row]) for text, row in zip(hypotheses, rows, strict=True)]
    )


def test_new_term_is_taken_by_the_configuration_and_the_calculator(monkeypatch, load):
    monkeypatch.setitem(REWARD_TERMS, "shouting", "tests.trainers.rewards.test_table:shouting")
    document = {
        "model": {"name": "a/folder"},
        "data": {"format": "drawn_scenes"},
        "scst": {"enabled": True, "rewards": {"shouting": 0.5}},
    }
    config = load(document)
    with build_rewards([["a dog"], ["a b c"]], config.scst.rewards, styles=["x", "x"], workers=1) as rewards:
        rewards.submit(lambda: RewardRequest([0, 1], ["two words", "two words"], [True, True]))
        assert rewards.result().total.tolist() == [0.5, 0.0]


def test_unknown_term_is_refused_with_the_nearest(load):
    document = {"model": {"name": "a"}, "data": {"format": "drawn_scenes"}, "scst": {"rewards": {"cider": 1.0}}}
    with pytest.raises(ValueError, match="unknown reward term; did you mean cider_d"):
        load(document)
