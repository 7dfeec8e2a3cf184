"""The terms that a reward can be made of: one function and one entry each. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING, cast

from utils.plugins import describe_kind, is_plugin, load_plugin

if TYPE_CHECKING:
    from trainers.rewards.terms import RewardData, Term

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


def prepare_of(name: str) -> Callable[[RewardData], Term]:
    """The function that prepares a term of ``REWARD_TERMS``, or a user's own as ``package.module:name``.

    Raises:
        ValueError: If it is not there, or cannot be called.
    """
    found = load_plugin(name) if is_plugin(name) else resolve_name(REWARD_TERMS[name])
    if not callable(found):
        raise ValueError(f"{name}: is {describe_kind(found)}; name a function that prepares a reward term")
    return cast("Callable[[RewardData], Term]", found)
