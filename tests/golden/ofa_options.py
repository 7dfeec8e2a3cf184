"""Configurations, weights and inputs of the OFA option goldens, made by formula so that nothing large is stored.

`record_ofa_options.py` runs them through the reference, `tests/models/test_ofa_options.py` through ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

BASE: dict[str, Any] = {
    "vocab_size": 131,
    "d_model": 48,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 80,
    "decoder_ffn_dim": 72,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "max_position_embeddings": 40,
    "token_bucket_size": 12,
    "image_bucket_size": 9,
    "resnet_type": "resnet18",
    "dropout": 0.0,
}

CASES: dict[str, dict[str, Any]] = {
    "shared_bias_scaled_embedding_wide_image": {
        "config": {"share_attn_bias": True, "scale_embedding": True},
        "image": (64, 112),
    },
    "interpolated_positions_tall_image": {
        "config": {"interpolate_position": True, "orig_patch_image_size": 64},
        "image": (96, 80),
    },
    "interpolation_not_needed": {
        "config": {"interpolate_position": True, "orig_patch_image_size": 96},
        "image": (96, 64),
    },
    "other_heads_and_buckets": {
        "config": {
            "encoder_attention_heads": 6,
            "decoder_attention_heads": 3,
            "token_bucket_size": 6,
            "image_bucket_size": 13,
            "attn_scale_factor": 1.5,
        },
        "image": (80, 80),
    },
    "post_norm_without_normformer": {
        "config": {
            "normformer": False,
            "encoder_normalize_before": False,
            "decoder_normalize_before": False,
            "layernorm_embedding": False,
            "patch_layernorm_embedding": False,
            "add_type_embedding": False,
            "activation_function": "relu",
        },
        "image": (64, 64),
    },
    "untied_output_projection": {"config": {"share_decoder_input_output_embed": False}, "image": (64, 64)},
    "text_only": {"config": {}, "image": None},
}


def fill_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Values for every float of a state dict, by the order of the sorted names; buffers of integers are kept."""
    draw = np.random.RandomState(20261122)
    filled = {}
    for name in sorted(state):
        tensor = state[name]
        if not tensor.is_floating_point() or "embed_tokens" in name or "output_projection" in name:
            continue
        values = torch.from_numpy(draw.standard_normal(tuple(tensor.shape)).astype(np.float32))
        if name.endswith("running_var") or "c_attn" in name:
            filled[name] = values.abs() * 0.3 + 0.7
        elif tensor.ndim == 1 and name.endswith("weight"):
            filled[name] = values * 0.1 + 1.0
        elif tensor.ndim == 4:
            filled[name] = values * (1.4 / tensor[0].numel() ** 0.5)
        else:
            filled[name] = values * 0.15
    tokens = torch.from_numpy(draw.standard_normal(tuple(state["encoder.embed_tokens.weight"].shape)))
    projection = torch.from_numpy(draw.standard_normal(tuple(tokens.shape)))
    untied = state["decoder.output_projection.weight"] is not state["encoder.embed_tokens.weight"] and (
        state["decoder.output_projection.weight"].data_ptr() != state["encoder.embed_tokens.weight"].data_ptr()
    )
    filled["encoder.embed_tokens.weight"] = filled["decoder.embed_tokens.weight"] = tokens.float() * 0.3
    filled["decoder.output_projection.weight"] = (projection if untied else tokens).float() * 0.3
    return filled


def make_inputs(case: dict[str, Any]) -> dict[str, Any]:
    """Two prompts of different lengths; with a picture, the second sample has none."""
    draw = np.random.RandomState(7)
    input_ids = torch.from_numpy(draw.randint(4, 131, (2, 7)))
    input_ids[1, 5:] = 1
    decoder_input_ids = torch.from_numpy(draw.randint(4, 131, (2, 6)))
    decoder_input_ids[:, 0] = 0
    inputs = {"input_ids": input_ids, "decoder_input_ids": decoder_input_ids}
    if case["image"] is not None:
        pixels = draw.standard_normal((2, 3, *case["image"])).astype(np.float32)
        inputs |= {"patch_images": torch.from_numpy(pixels), "patch_masks": torch.tensor([True, False])}
    return inputs


def gradient_norms(model: torch.nn.Module, logits: Tensor) -> dict[str, float]:
    """Norms of the gradients of the mean log-normaliser, for parameters that got one above rounding."""
    model.zero_grad()
    logits.logsumexp(-1).mean().backward()
    norms = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None}
    return {name: norm for name, norm in sorted(norms.items()) if norm > 1e-6}
