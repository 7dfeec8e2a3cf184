"""Model folders: ModelScope's layout in and out, ours in, hub ids in."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import torch

from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.ofa.tokenization_ofa import VOCABULARY_FILES, OFATokenizer
from utils.hub import resolve_model_folder
from utils.io import read_json, write_json

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
MODELSCOPE_WEIGHTS = "pytorch_model.bin"


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that cannot be opened, naming every file that is missing.

    Raises:
        FileNotFoundError: If the configuration, the vocabulary or the weights are not there.
    """
    missing = [name for name in ("config.json", *VOCABULARY_FILES) if not (folder / name).is_file()]
    weights = (*WEIGHT_FILES, "model.safetensors.index.json", "pytorch_model.bin.index.json")
    if not any((folder / name).is_file() for name in weights):
        missing.append(" or ".join(WEIGHT_FILES))
    if missing:
        raise FileNotFoundError(
            f"{folder} is not a complete model folder: missing {', '.join(missing)}. A captioner needs config.json, "
            "vocab.json, merges.txt and its weights; copy the missing files from where the model came from."
        )


def load_ofa(
    name_or_folder: str | os.PathLike[str], *, revision: str | None = None
) -> tuple[OFAForConditionalGeneration, OFATokenizer]:
    """Open a captioner.

    Args:
        name_or_folder: A ModelScope folder, a folder of ours, or a ModelScope hub id.
        revision: Branch or tag on the hub.

    Returns:
        The model in float32 and evaluation mode, and its tokenizer.

    Raises:
        FileNotFoundError: If files are missing.
        ValueError: If the checkpoint lacks parameters, holds others, or has other shapes than its configuration.
    """
    folder = resolve_model_folder(os.fspath(name_or_folder), revision)
    check_model_folder(folder)
    model = load_weights(folder)
    known = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    appended = {name: known[name] for name in ("num_codes", "num_bins", "style_tokens") if name in known}
    tokenizer = OFATokenizer.from_pretrained(folder, **appended)
    if len(tokenizer) > model.config.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries and the model {model.config.vocab_size}; "
            "vocab.json does not belong to these weights"
        )
    model.config.text_vocab_size = tokenizer.text_vocab_size
    return model, tokenizer


def load_weights(folder: Path) -> OFAForConditionalGeneration:
    """Open configuration and weights of a folder, strictly.

    Raises:
        ValueError: If a parameter is missing, unknown, or of another shape, by name.
    """
    try:
        model, info = OFAForConditionalGeneration.from_pretrained(
            folder, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True
        )
    except pickle.UnpicklingError as error:
        # torch's own message advises to execute the file, which is never the remedy.
        raise ValueError(
            f"{folder}: the model cannot be opened: its weights are damaged, or hold objects other than tensors. "
            "Copy them again from where the model came from."
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ValueError(f"{folder}: the model cannot be opened: {error}") from error
    faults = [f"parameter {key} is missing" for key in sorted(info["missing_keys"])]
    faults += [f"{key} is not a parameter of OFA" for key in sorted(info["unexpected_keys"])]
    faults += [
        f"{key} has shape {tuple(found)}, the configuration asks for {tuple(expected)}"
        for key, found, expected in sorted(info["mismatched_keys"])
    ]
    if faults:
        rest = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(
            f"{folder}: the checkpoint does not fit its config.json: {'; '.join(faults[:5])}{rest}. "
            "Use the config.json that came with the weights, or copy the weights again."
        )
    return model.eval()


def save_ofa(
    folder: str | os.PathLike[str],
    model: OFAForConditionalGeneration,
    tokenizer: OFATokenizer,
    *,
    configuration: dict[str, Any] | None = None,
) -> Path:
    """Write a folder that ModelScope's own code opens, and so does :func:`load_ofa`.

    Args:
        folder: Created if needed. ``pytorch_model.bin`` is written last and renamed into place, so a folder with
            weights is complete.
        model: Its state dict is written in full, position buffers and tied weights included, as published.
        tokenizer: Its two vocabulary files are written.
        configuration: Additional keys of ModelScope's ``configuration.json`` ``model`` section, e.g.
            ``patch_image_size`` or ``prompt``.

    Returns:
        The folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save_folder(folder)
    fields = json.loads(model.config.to_json_string(use_diff=False))
    fields.pop("dtype", None)  # older transformers, and so ModelScope, would take it for a type object
    write_json(folder / "config.json", fields | {"architectures": ["OFAModel"]})
    write_configuration(folder, configuration or {})
    partial = folder / f"{MODELSCOPE_WEIGHTS}.partial"
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    torch.save(state, partial)
    os.replace(partial, folder / MODELSCOPE_WEIGHTS)
    return folder


def write_configuration(folder: Path, settings: dict[str, Any]) -> None:
    """Write ModelScope's ``configuration.json``; ``settings`` join its ``model`` section."""
    description = {
        "framework": "pytorch",
        "task": "image-captioning",
        "pipeline": {"type": "image-captioning"},
        "model": {"type": "ofa", "language": "en", "gen_type": "generation", **settings},
    }
    write_json(folder / "configuration.json", description)
