"""The terms that a reward can be made of: one function and one entry each. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping

REWARD_TERMS: Mapping[str, str] = {
    "cider_d": "trainers.rewards.terms:cider_d",
    "bleu_4": "trainers.rewards.terms:bleu_4",
    "meteor": "trainers.rewards.terms:meteor",
    "style": "trainers.rewards.terms:style",
    "repetition": "trainers.rewards.terms:repetition",
    "length": "trainers.rewards.terms:length",
    "fluency": "trainers.rewards.fluency:fluency",
}
"""By the name in ``scst.rewards`` the function that prepares the term, from :class:`trainers.rewards.terms.RewardData`
to :data:`trainers.rewards.terms.Term`; imported when it is used."""
