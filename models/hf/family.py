"""What a file of a family tells the captioner of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from models.captioner import Limits, VisionInfo
from models.hf.tokenizer import FamilyTokenizer


@dataclass(frozen=True)
class Family:
    """Captioners of one class of transformers.

    Attributes:
        name: As people call it.
        class_name: The library's class.
        open: A folder to network, tokenizer, and how pictures are made.
        parts: ``embeddings``, ``decoder`` and ``vision_stages`` of a network, see :meth:`Captioner.parts`.
        text_model: What of a network has the embeddings, and resizes them.
        limits: Of a configuration.
        positions: Tokens of prompt and caption together that a configuration has positions for in the decoder.
        processor: What transformers wants to find in ``preprocessor_config.json``, for a configuration and so many
            pixels a side.
        tokenizer: What it wants to find in ``tokenizer_config.json``.
        lora_targets: Expression for whole names of layers: queries and values of the language side's attention.
        style: How a style enters, for people.
        licence: Of the published weights, for people.
    """

    name: str
    class_name: str
    open: Callable[[Path], tuple[Any, FamilyTokenizer, VisionInfo]]
    parts: Callable[[Any], Mapping[str, Sequence[nn.Module]]]
    text_model: Callable[[Any], PreTrainedModel]
    limits: Callable[[Any], Limits]
    positions: Callable[[Any], int]
    processor: Callable[[Any, int], Mapping[str, Any]]
    tokenizer: Mapping[str, Any]
    lora_targets: str
    style: str
    licence: str
