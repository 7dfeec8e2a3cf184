"""The group of adapters: what is trained beside frozen weights."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from configuration.types import Group, Relation


def _check_expression(expression: str) -> str:
    try:
        re.compile(expression)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from error
    return expression


def _only_with_rank(name: str, off: object) -> Relation:
    return Relation(
        (name, "rank"),
        lambda group: getattr(group, name) == off or group.rank is not None,
        "only used with adapters; set lora.rank, or remove it",
    )


class LoraConfig(Group):
    """Low-rank adapters (LoRA, Hu 2021, arXiv:2106.09685), trained in place of the model's weights (docs/lora.md)."""

    rank: int | None = Field(default=None, ge=1)
    """Rank of the adapters, which are trained with the rows of style tokens or codes, and nothing else; None = no
    adapters, all weights are trained."""
    alpha: float | None = Field(default=None, gt=0)
    """What adapters add is multiplied by alpha / rank; None = rank, so by 1."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability that an input of an adapter is left out in training."""
    targets: Annotated[str, AfterValidator(_check_expression)] | None = None
    """Regular expression; the linear layers whose whole name it matches get an adapter. None = queries and values of
    all attention of the language side, as in the paper."""
    quantize: Literal["int8", "nf4"] | None = None
    """Number format of the other weights of linear layers while adapters are trained, vision network and vocabulary
    left out; for a CUDA GPU (docs/lora.md). None = float32."""

    RELATIONS = (
        *(_only_with_rank("alpha", None), _only_with_rank("dropout", 0), _only_with_rank("targets", None)),
        _only_with_rank("quantize", None),
    )
