"""From a configuration to what is minimised and how captions are drawn."""

from __future__ import annotations

import logging
from collections.abc import Collection

from configuration.groups import RunConfig
from configuration.objectives import PreferenceConfig, ScstConfig
from models.adapters import adapts
from models.captioner import Captioner
from models.settings import Decoding
from trainers.losses.table import LOSS_TERMS
from trainers.objective import ForeignTokens, Objective
from trainers.preference import Preference
from trainers.sampler import Sampler
from trainers.scst_trainer import SelfCritical

logger = logging.getLogger(__name__)


def term_weights(config: RunConfig) -> dict[str, float]:
    """Weights of the terms beside cross-entropy that are on, by name, each from the setting that its entry names."""
    weights = {}
    for name, term in LOSS_TERMS.items():
        group, _, key = term.weight.partition(".")
        weights[name] = getattr(getattr(config, group), key)
    return {name: weight for name, weight in weights.items() if weight}


def make_objective(config: RunConfig, foreign: ForeignTokens | None) -> Objective:
    """The loss of people's captions."""
    train, masked = config.train, config.masked_lm
    return Objective(
        label_smoothing=train.label_smoothing,
        drop_worst=train.drop_worst,
        rdrop=train.rdrop,
        masked_lm=masked.weight,
        masked_lm_end=masked.weight if masked.weight_end is None else masked.weight_end,
        weights=term_weights(config),
        foreign=foreign,
    )


def make_self_critical(scst: ScstConfig, decoding: Decoding, frozen: Collection[str], seed: int) -> SelfCritical:
    """How a run draws and compares captions.

    Args:
        scst: Its settings.
        decoding: Bounds the captions, and rules those of a beam search.
        frozen: What :func:`frozen_parts` names.
        seed: Of the draws.
    """
    _tell_guidance(decoding)
    sampler = Sampler(
        scst.num_samples,
        scst.sampling,
        decoding,
        temperature=scst.temperature,
        top_p=scst.top_p,
        with_greedy=scst.baseline == "greedy",
        seed=seed,
    )
    return SelfCritical(
        sampler,
        scst.baseline,
        kl_weight=scst.kl_weight,
        cross_entropy_weight=scst.cross_entropy_weight,
        dropout=scst.dropout,
        train_batch_norm=not {"batch_norm", "vision"} & {*frozen},
    )


def make_preference(preference: PreferenceConfig) -> Preference:
    """How a run learns pairs: what was left open is that of the papers."""
    usual = {"dpo": 0.1, "simpo": 2.0}[preference.loss]
    beta = usual if preference.beta is None else preference.beta
    gamma = 0.0
    if preference.loss == "simpo":
        gamma = beta / 2 if preference.gamma is None else preference.gamma
    return Preference(preference.loss, beta, gamma, preference.cross_entropy_weight)


def make_pair_sampler(preference: PreferenceConfig, decoding: Decoding, seed: int) -> Sampler:
    """How a run draws the captions that its pairs are chosen from."""
    _tell_guidance(decoding)
    return Sampler(preference.num_samples, "multinomial", decoding, temperature=preference.temperature, seed=seed)


def _tell_guidance(decoding: Decoding) -> None:
    if decoding.guidance != 1.0:
        # What is learnt is learnt of draws from the model's own distribution.
        logger.warning(
            "decode.guidance=%g: holds for captions that are written; those that are rewarded are drawn without it",
            decoding.guidance,
        )


def frozen_parts(config: RunConfig, captioner: Captioner) -> list[str]:
    """Parts of the captioner that a run does not train.

    A pretrained vision network keeps its batch statistics always, and its weights unless stages of it are trained.
    Beside adapters all statistics stay, and so does a vision network without any.
    """
    train, scst, lora = config.train, config.scst, config.lora
    parts: list[str] = ["vision" if part == "resnet" else part for part in train.freeze]
    if lora.rank is not None:
        parts.append("batch_norm" if adapts(captioner, "vision", lora.targets) else "vision")
    elif train.vision_stages is not None:
        parts.append("batch_norm")  # the stages before them do not change, nor do their statistics
    elif captioner.vision().is_pretrained:
        parts.append("vision")
    if scst.enabled:
        parts += ["embeddings"] * scst.freeze_embeddings + ["batch_norm"] * scst.freeze_batch_norm
    if config.preference.enabled:
        parts.append("batch_norm")  # the two sides of a margin must be of the same statistics
    return parts
