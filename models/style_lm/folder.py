"""Folders of causal language models: a plain one of transformers, with tokenizer and ``styles.json`` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from models.bounds import STYLES, find_foreign_faults
from models.weights import check_finite, read_weights
from preprocessors.text.styles import FILE_NAME as STYLES_FILE
from preprocessors.text.styles import StyleRegistry
from utils.errors import first_line
from utils.hub import refuse_adapters
from utils.small_json import check_against, read_small_json


def load_network(folder: Path, entries: int) -> PreTrainedModel:
    """The causal language model of a folder, in float32 and evaluation mode.

    Args:
        folder: With ``config.json`` and weights.
        entries: Of the tokenizer beside it.

    Raises:
        FileNotFoundError: If there is no configuration, or there are no weights.
        ValueError: If it is another kind of model, a file is damaged, they do not fit one another, the tokenizer has
            more entries than the network, or the network cannot be told who sees whom.
        NoNumbers: If a weight is NaN or infinite.
    """
    described = read_small_json(folder / "config.json")
    if faults := find_foreign_faults(described, "config"):
        raise ValueError(f"{folder / 'config.json'}: {'; '.join(faults[:5])}")
    refuse_adapters(folder)
    read_weights(folder)  # refuses what is damaged, or would fill the memory
    try:
        network, told = AutoModelForCausalLM.from_pretrained(
            folder,
            config=AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False),
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa",
        )
    except Exception as error:  # configuration classes, safetensors and torch share no base class
        raise ValueError(
            f"{folder}: no causal language model can be opened there: {first_line(error)[:500]}. Needed is a folder "
            "of transformers such as GPT-2's; copy its files again from where the model came from."
        ) from error
    if missing := sorted(told["missing_keys"]):
        raise ValueError(f"{folder}: the weights lack {missing[0]} ({len(missing)} in all). Copy them again.")
    # Another implementation of attention would add a boolean mask to the scores, without a word.
    if not network._supports_sdpa or network.config._attn_implementation != "sdpa":
        raise ValueError(f"{folder}: a {described.get('model_type')!r} model cannot be told which documents to see")
    if network.config.vocab_size < entries:
        raise ValueError(
            f"{folder}: the tokenizer has {entries:,} entries and the network {network.config.vocab_size:,}; they do "
            "not belong together. Copy both from where the model came from."
        )
    check_finite(network, folder)
    return cast(PreTrainedModel, network.eval())


def load_registry(folder: Path) -> StyleRegistry | None:
    """The styles of a folder; None if it has none, so that any words may be a control code.

    Raises:
        ValueError: If the file is damaged, or an entry is out of bounds.
    """
    path = folder / STYLES_FILE
    if not path.is_file():
        return None
    check_against(STYLES, read_small_json(path), path)
    return StyleRegistry.load_from_dir(folder)
