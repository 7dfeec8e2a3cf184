"""New language models in named sizes, GPT-2 in shape and with random weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from preprocessors.documents.interface import TextTokenizer

SIZES: Mapping[str, Mapping[str, int]] = {
    "nano": {"n_embd": 64, "n_layer": 2, "n_head": 2},
    "tiny": {"n_embd": 192, "n_layer": 4, "n_head": 6},
    "medium": {"n_embd": 384, "n_layer": 6, "n_head": 6},
    "base": {"n_embd": 768, "n_layer": 12, "n_head": 12},
    "large": {"n_embd": 1024, "n_layer": 24, "n_head": 16},
}
"""Width, layers and heads under the names that captioners' sizes have; the last two are the smallest of Radford et al.
2019."""


def new_network(tokenizer: TextTokenizer, size: str, positions: int, dropout: float, seed: int) -> GPT2LMHeadModel:
    """A network in evaluation mode; its vocabulary is the tokenizer's.

    Args:
        tokenizer: Its entries get an embedding each.
        size: One of ``SIZES``.
        positions: Most tokens of a document with BOS, control code and EOS.
        dropout: Of embeddings, attention and residuals, in [0, 1).
        seed: Of the weights.

    Raises:
        ValueError: If there is no such size.
    """
    if size not in SIZES:
        raise ValueError(f"size {size!r}: must be one of {', '.join(SIZES)}")
    special = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id, "pad_token_id": tokenizer.eos_id}
    rates = dict.fromkeys(("embd_pdrop", "attn_pdrop", "resid_pdrop"), dropout)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=positions,
        activation_function="gelu_pytorch_tanh",  # what GPT-2 calls gelu_new, in one kernel
        attn_implementation="sdpa",
        **SIZES[size],
        **special,
        **rates,
    )
    torch.manual_seed(seed)
    network: GPT2LMHeadModel = GPT2LMHeadModel(config)
    return network.eval()
