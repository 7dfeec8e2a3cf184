"""Groups of the configuration that add to cross-entropy or stand in for it: what is learnt beside people's captions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from configuration.types import ConfigPath, Group, OneOf, Relation
from trainers.rewards.table import REWARD_TERMS, prepare_of

RewardTerm = Annotated[str, OneOf(REWARD_TERMS, "reward term", load=prepare_of)]
RewardWeight = Annotated[float, Field(ge=0)]


def _only_with_weight(name: str) -> Relation:
    return Relation(
        (name, "weight"),
        lambda group: getattr(group, name) is None or group.weight > 0,
        "only used with a masked-LM loss; set masked_lm.weight above 0, or remove it",
    )


def _only_with_multinomial(name: str) -> Relation:
    return Relation(
        (name, "sampling"),
        lambda group: getattr(group, name) == 1 or group.sampling == "multinomial",
        "only used with scst.sampling=multinomial; remove it",
    )


def _only_drawn(name: str, usual: float) -> Relation:
    return Relation(
        (name, "pairs"),
        lambda group: getattr(group, name) == usual or group.pairs is None,
        "says how captions are drawn, and preference.pairs names a file of them; remove one of the two",
    )


class MaskedLmConfig(Group):
    """The masked-LM loss beside the main one: captions with masked words, read without their pictures."""

    weight: float = Field(default=0.0, ge=0)
    """Factor of the loss, which is in nats per token; 0 = off."""
    weight_end: float | None = Field(default=None, ge=0)
    """Factor at the last step, reached linearly from ``weight``; None = constant."""
    mask_rate: float = Field(default=0.3, gt=0, lt=1)
    """Probability that a word is masked; 0.3 is OFA's (Wang 2022, arXiv:2202.03052)."""
    style_word_rate: float = Field(default=0.5, ge=0, le=1)
    """The same for words typical of the caption's style."""
    mask_style_rate: float = Field(default=0.15, ge=0, le=1)
    """Probability that the style in the prompt is masked; 0.15 is BERT's rate (Devlin 2018, arXiv:1810.04805)."""
    corpus: ConfigPath | None = None
    """More sentences, without pictures: JSON Lines of ``{"body": sentence, "meta": style}``; None = captions only."""

    RELATIONS = (_only_with_weight("weight_end"), _only_with_weight("corpus"))


class UnlikelihoodConfig(Group):
    """Losses that make unwanted tokens less probable (Welleck 2019, arXiv:1908.04319)."""

    repetition: float = Field(default=0.0, ge=0)
    """Factor of the loss on tokens that the caption or document holds already; 0 = off."""
    leakage: float = Field(default=0.0, ge=0)
    """Factor of the loss on words typical of other styles; 0 = off."""
    sequence: float = Field(default=0.0, ge=0, lt=1)
    """Share of the optimizer steps of a text run that make n-grams which the model's own greedy continuations repeat
    less probable, in place of all else; Welleck's fine-tuning has 0.5. 0 = off."""


class ScstConfig(Group):
    """Self-critical training: the model's own captions, weighted by their reward (Rennie 2017, arXiv:1612.00563)."""

    enabled: bool = False
    """Train on rewards instead of cross-entropy; the only switch."""
    num_samples: int = Field(default=5, ge=1)
    """Captions drawn per picture (K); 5 in Luo 2020, arXiv:2003.09971. At most decode.max_length + 1 tokens each, EOS
    counted."""
    sampling: Literal["multinomial", "beam"] = "multinomial"
    """Independent draws, or the best K of a beam search, as in the original."""
    temperature: float = Field(default=1.0, gt=0)
    """Divisor of the logits in a draw."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Probability mass that is drawn from (nucleus, Holtzman 2019, arXiv:1904.09751); 1 = all of it."""
    baseline: Literal["leave_one_out", "greedy", "group_mean"] = "leave_one_out"
    """Subtracted from a reward: mean of its siblings (Luo 2020), reward of the greedy caption (Rennie 2017), or mean of
    all K, as in the original."""
    rewards: dict[RewardTerm, RewardWeight] = {"cider_d": 1.0}
    """Weight of each reward term (``REWARD_TERMS``); terms that are not named are off. What is bad lowers its term: of
    ``repetition`` and ``length`` 0 is the best, and a negative weight would pay for the fault. A
    ``package.module:name`` is a function of your own (docs/plugins.md). Preference training ranks its captions by the
    same."""
    kl_weight: float = Field(default=0.0, ge=0)
    """Factor of the KL divergence to the starting model, nats per token (Ziegler 2019, arXiv:1909.08593); 0 = off."""
    cross_entropy_weight: float = Field(default=0.0, ge=0)
    """Factor of cross-entropy on people's captions, mixed in (Paulus 2017, arXiv:1705.04304); 0 = off."""
    document_frequency: ConfigPath | None = None
    """File of CIDEr-D's document frequencies; None = counted over the training captions."""
    document_frequency_eos: bool = True
    """Whether that file counts the end of a caption as a word, as self-critical.pytorch's do. Where it does not, the
    reward counts none either, and captions without a proper end lose nothing by it."""
    fluency_lm: ConfigPath | None = None
    """Folder of the language model with the styles that the reward term ``fluency`` asks."""
    reward_workers: int = Field(default=2, ge=1)
    """Threads that compute rewards; the results are the same for any number."""
    dropout: bool = False
    """Dropout while the drawn captions are scored."""
    freeze_batch_norm: bool = True
    """Keep the statistics of batch norm."""
    freeze_embeddings: bool = True
    """Keep the token embeddings."""

    RELATIONS = (
        Relation(
            ("document_frequency_eos", "document_frequency"),
            lambda group: group.document_frequency_eos or group.document_frequency is not None,
            "says something of scst.document_frequency; name that file, or remove this",
        ),
        Relation(
            ("fluency_lm", "rewards"),
            lambda group: (group.fluency_lm is not None) == ("fluency" in group.rewards),
            "goes with scst.rewards.fluency; give both, the folder of a language model and a weight, or neither",
        ),
        Relation(
            ("num_samples", "baseline", "sampling"),
            lambda group: group.num_samples >= 2 or group.baseline == "greedy" or group.sampling == "beam",
            "{baseline} needs at least 2 captions of a picture; use 2+ or scst.baseline=greedy",
        ),
        Relation(
            ("num_samples", "sampling"),
            lambda group: group.num_samples >= 2 or group.sampling != "beam",
            "a beam search of one is all but the greedy caption; use 2+ or scst.sampling=multinomial",
        ),
        _only_with_multinomial("temperature"),
        _only_with_multinomial("top_p"),
        Relation(
            ("rewards",),
            lambda group: any(group.rewards.values()),
            "at least one reward term needs a weight above 0, for example scst.rewards.cider_d=1",
        ),
    )


class PreferenceConfig(Group):
    """Preference training: of two captions of a picture the better one becomes likelier, the worse one less likely."""

    enabled: bool = False
    """Train on pairs of captions instead of cross-entropy; the only switch."""
    loss: Literal["dpo", "simpo"] = "dpo"
    """dpo holds on to the model as it was at the beginning (Rafailov 2023, arXiv:2305.18290); simpo goes by the mean
    per token and holds on to nothing (Meng 2024, arXiv:2405.14734)."""
    beta: float | None = Field(default=None, gt=0)
    """Scale of what the model thinks of a caption; None = 0.1 for dpo and 2 for simpo, as in their papers."""
    gamma: float | None = Field(default=None, ge=0)
    """Margin between the two captions that simpo aims at; None = half of ``beta``, as the authors suggest to begin
    with."""
    pairs: ConfigPath | None = None
    """File of pairs to learn in place of the training rows: JSON Lines of ``{"image": name, "style": style, "chosen":
    caption, "rejected": caption}``. None = the best and the worst of the captions that the model draws itself, by
    ``scst.rewards``."""
    num_samples: int = Field(default=5, ge=2)
    """Captions drawn per picture (K), of which the best and the worst are a pair; 5 in Meng 2024."""
    temperature: float = Field(default=0.8, gt=0)
    """Divisor of the logits in a draw; 0.8 in Meng 2024. Pairs are learnt without it."""
    cross_entropy_weight: float = Field(default=0.0, ge=0)
    """Factor of cross-entropy on people's captions, or on the chosen ones of ``pairs``, mixed in (Pang 2024,
    arXiv:2404.19733); 0 = off."""

    RELATIONS = (
        Relation(
            ("gamma", "loss"),
            lambda group: group.gamma is None or group.loss == "simpo",
            "only used with preference.loss=simpo; remove it",
        ),
        _only_drawn("num_samples", 5),
        _only_drawn("temperature", 0.8),
    )

    @property
    def draws(self) -> bool:
        """Whether the model draws the captions itself."""
        return self.enabled and self.pairs is None
