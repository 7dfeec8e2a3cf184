"""Prompts with their pictures to what captions are made from, the same for all that caption."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from models.captioner import Captioner, Encoded
from preprocessors.collator import CaptionCollator, with_normalised
from preprocessors.interface import CaptionPreprocessor, EncodedExample


def encode_prompts(
    captioner: Captioner, preprocessor: CaptionPreprocessor, items: Sequence[EncodedExample], *, guided: bool
) -> tuple[Encoded, Encoded | None]:
    """Encode a batch; a picture that several items hold passes the vision network once.

    Args:
        captioner: In evaluation mode.
        preprocessor: That made the items.
        items: With pixels, or with features of the vision network.
        guided: Encode the pictures with the neutral prompt as well, on what the vision network made of them.

    Returns:
        What it encoded of the B items, and of their pictures with the neutral prompt; the second is None unless guided.
    """
    inputs, neutral = _inputs_of(captioner, preprocessor, items), None
    if guided:
        inputs = _looked_at(captioner, inputs)
        ids = torch.tensor([preprocessor.prompt_ids(None)] * len(items), device=captioner.device)
        neutral = captioner.encode(inputs | {"input_ids": ids})
    return captioner.encode(inputs), neutral


def _inputs_of(
    captioner: Captioner, preprocessor: CaptionPreprocessor, items: Sequence[EncodedExample]
) -> dict[str, Tensor]:
    number_format, device = next(captioner.module.parameters()).dtype, captioner.device
    batch = cast(Mapping[str, Tensor], CaptionCollator(captioner.tokenizer.pad_token_id)(items))
    there = {name: tensor.to(device) for name, tensor in batch.items()}
    return {
        name: tensor.to(number_format) if tensor.is_floating_point() else tensor
        for name, tensor in with_normalised(there, preprocessor.image_transform).items()
    }


def _looked_at(captioner: Captioner, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inputs with features in place of pixels: two prompts share a picture's pass through the vision network."""
    if "patch_images" not in inputs:
        return inputs
    (network,) = captioner.parts()["vision"]
    others = {name: tensor for name, tensor in inputs.items() if name != "patch_images"}
    return others | {"image_features": network(inputs["patch_images"])}
