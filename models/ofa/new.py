"""New OFA models: random weights, and a BPE trained on their captions."""

from __future__ import annotations

import difflib
import tempfile
from pathlib import Path
from typing import Any

import torch

from models.captioner import NewModel
from models.ofa.configuration_ofa import PRESETS, OFAConfig
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.ofa.tokenization_ofa import OFATokenizer
from models.vision.table import VisionDescription, open_vision
from preprocessors.text.bpe import train_bpe


def new_ofa(wanted: NewModel) -> tuple[OFAForConditionalGeneration, OFATokenizer]:
    """A model in evaluation mode and its tokenizer.

    Raises:
        ValueError: If an override is no field of OFAConfig, or not of its type.
    """
    with tempfile.TemporaryDirectory() as scratch:
        bpe, prompts = Path(scratch), wanted.prompts
        train_bpe(wanted.captions, bpe, wanted.bpe_size, extra_texts=prompts, punctuation=wanted.punctuation)
        tokenizer = OFATokenizer.load_from_dir(Path(scratch), num_codes=wanted.num_codes, num_bins=0)
    vision = None if wanted.vision is None else open_vision(wanted.vision, named=wanted.vision_is_named)
    config = _make_config(wanted, tokenizer, vision and vision.description)
    torch.manual_seed(wanted.seed)
    model = OFAForConditionalGeneration(config)
    if vision is not None:
        model.encoder.embed_images.load_state_dict(vision.network.state_dict())
    return model.eval(), tokenizer


def _make_config(wanted: NewModel, tokenizer: OFATokenizer, vision: VisionDescription | None) -> OFAConfig:
    # What follows from the captions' BPE is not for the user to set.
    derived = {name for name in OFAConfig.__dataclass_fields__ if name.endswith(("_token_id", "vocab_size"))}
    known = set(OFAConfig.__dataclass_fields__) - derived - {"vision"}
    if vision is not None:
        known = {name for name in known if not name.startswith("resnet_")}
    for name, value in wanted.overrides.items():
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise ValueError(f"model.overrides.{name}: cannot be set; did you mean {nearest}?")
        kind = type(getattr(OFAConfig, name, None))
        if kind in (bool, int, float, str) and not (type(value) is kind or (kind is float and type(value) is int)):
            raise ValueError(f"model.overrides.{name}={value!r}: must be of type {kind.__name__}")
    sizes: dict[str, Any] = {"vocab_size": len(tokenizer), "text_vocab_size": tokenizer.text_vocab_size}
    if vision is not None:
        sizes |= {"vision": vision, "resnet_type": vision["kind"], "resnet_layers": None}
    try:
        return OFAConfig(**{**PRESETS[wanted.preset], **wanted.overrides, **sizes})
    except TypeError as error:
        raise ValueError(f"model.overrides: {' '.join(str(error).split())}") from error
