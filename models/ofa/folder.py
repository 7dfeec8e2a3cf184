"""Model folders: ModelScope's layout in and out, ours in, hub ids in."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from models.ofa.configuration_ofa import OFAConfig
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.ofa.tokenization_ofa import VOCABULARY_FILES, OFATokenizer
from models.settings import WEIGHT_FILES
from models.vision.table import load_named
from utils.errors import first_line
from utils.hub import resolve_model_folder
from utils.io import read_json, write_json

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
    with _opening(folder, "vocabulary (vocab.json, merges.txt, tokenizer_config.json)"):
        description = folder / "tokenizer_config.json"
        known = read_json(description) if description.is_file() else {}
        appended = {name: known[name] for name in ("num_codes", "num_bins", "style_tokens") if name in known}
        tokenizer = OFATokenizer.from_pretrained(folder, **appended)
    model = load_weights(folder)
    if len(tokenizer) != model.config.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries and the model {model.config.vocab_size}; "
            "vocab.json or tokenizer_config.json does not belong to these weights"
        )
    model.config.text_vocab_size = tokenizer.text_vocab_size
    return model, tokenizer


def load_weights(folder: Path) -> OFAForConditionalGeneration:
    """Open configuration and weights of a folder, strictly.

    Raises:
        ValueError: If a parameter is missing, unknown, or of another shape, by name; if a file is damaged.
    """
    with _opening(folder, "configuration (config.json)"):
        kind = read_json(folder / "config.json").get("model_type", "ofa")
        config = OFAConfig.from_pretrained(folder)
    if kind != "ofa":
        raise ValueError(f"{folder}: config.json is of a {kind!r} model; only OFA can be opened")
    with _opening(folder, "weights"):
        model, info = OFAForConditionalGeneration.from_pretrained(
            folder, config=config, output_loading_info=True, ignore_mismatched_sizes=True, local_files_only=True
        )
    named = model.named_vision_weights()
    faults = [f"parameter {key} is missing" for key in sorted(set(info["missing_keys"]) - named)]
    faults += [f"{key} is not a parameter of OFA" for key in sorted(info["unexpected_keys"])]
    faults += [
        f"{key} has shape {tuple(found)}, the configuration asks for {tuple(expected)}"
        for key, found, expected in sorted(info["mismatched_keys"])
    ]
    if config.share_decoder_input_output_embed and not (faults or model.projection_is_tied):
        faults.append("decoder.output_projection.weight differs from the embedding that it should share")
    if faults:
        rest = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(
            f"{folder}: the checkpoint does not fit its config.json: {'; '.join(faults[:5])}{rest}. "
            "Use the config.json that came with the weights, or copy the weights again."
        )
    if named:
        model.encoder.embed_images.load_state_dict(load_named(config.vision, folder).state_dict())
    # One table for both, as in a new model: 25 MB at the published size.
    model.decoder.image_rp_bucket = model.encoder.image_rp_bucket
    return model.eval()


@contextmanager
def _opening(folder: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one message."""
    try:
        yield
    except Exception as error:
        # safetensors, tokenizers, pickle and the configuration classes share no base class; and torch's message about
        # objects in a checkpoint advises to execute them, which is never the remedy.
        is_code = isinstance(error, pickle.UnpicklingError)
        cause = "it holds objects other than tensors" if is_code else first_line(error)
        raise ValueError(
            f"{folder}: the {what} cannot be opened: {cause}. Copy the files again from where the model came from."
        ) from error


def save_ofa(
    folder: str | os.PathLike[str],
    model: OFAForConditionalGeneration,
    tokenizer: OFATokenizer,
    *,
    configuration: dict[str, Any] | None = None,
) -> Path:
    """Write a folder that ModelScope's own code opens, and so does :func:`load_ofa`.

    With a pretrained vision network only the latter does.

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
    write_configuration(folder, model.config, configuration or {})
    partial = folder / f"{MODELSCOPE_WEIGHTS}.partial"
    absent = model.named_vision_weights()
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items() if name not in absent}
    torch.save(state, partial)
    os.replace(partial, folder / MODELSCOPE_WEIGHTS)
    return folder


def write_configuration(folder: Path, config: OFAConfig, settings: dict[str, Any]) -> None:
    """Write ModelScope's ``configuration.json``; ``settings`` join its ``model`` section.

    A model with another vision network than OFA's gets a type that ModelScope refuses by its name.
    """
    kind = "ofa" if config.vision is None else f"stylecap-ofa-{config.vision['kind']}"
    description = {
        "framework": "pytorch",
        "task": "image-captioning",
        "pipeline": {"type": "image-captioning"},
        "model": {"type": kind, "language": "en", "gen_type": "generation", **settings},
    }
    write_json(folder / "configuration.json", description)
