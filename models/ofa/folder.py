"""Model folders: ModelScope's layout in and out, ours in, hub ids in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

import torch

from models.bounds import OFA, find_foreign_faults
from models.ofa.configuration_ofa import OFAConfig
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.ofa.tokenization_ofa import OFATokenizer
from models.settings import WEIGHT_FILES
from models.vision.table import VisionDescription, load_named
from models.weights import INDEXES, check_finite, describe_misfits, find_misfits, opening, read_weights
from models.wrapping import drop_prefixes
from preprocessors.text.bpe_files import VOCABULARY_FILES
from utils.hub import resolve_model_folder
from utils.io import write_json
from utils.small_json import check_against, read_small_json

MODELSCOPE_WEIGHTS = "pytorch_model.bin"


def check_model_folder(folder: Path) -> None:
    """Refuse a folder that cannot be opened, naming every file that is missing.

    Raises:
        FileNotFoundError: If the configuration, the vocabulary or the weights are not there.
    """
    missing = [name for name in ("config.json", *VOCABULARY_FILES) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in (*WEIGHT_FILES, *INDEXES)):
        missing.append(" or ".join(WEIGHT_FILES) + _other_name(folder))
    if missing:
        raise FileNotFoundError(
            f"{folder} is not a complete model folder: missing {', '.join(missing)}. A captioner needs config.json, "
            "vocab.json, merges.txt and its weights; copy the missing files from where the model came from."
        )


def _other_name(folder: Path) -> str:
    """What to do about weights as another program names them, if some are there."""
    found = sorted(path.name for path in folder.glob("*") if path.suffix in (".pt", ".pth", ".ckpt"))
    return f" (if {found[0][:80]!r} holds the weights, rename it to {MODELSCOPE_WEIGHTS})" if found else ""


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
    tokenizer, config = OFATokenizer.load_from_dir(folder), read_config(folder)
    if len(tokenizer) != config.vocab_size:
        raise ValueError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries and the model {config.vocab_size}; "
            "vocab.json or tokenizer_config.json does not belong to these weights"
        )
    model = load_weights(folder, config)
    model.config.text_vocab_size = tokenizer.text_vocab_size
    return model, tokenizer


def read_config(folder: Path) -> OFAConfig:
    """The configuration of a folder. What OFA does not know is left out: the library's own entries can name code.

    Raises:
        ValueError: If an entry has another type or is out of bounds, by name; if the folder holds another model.
    """
    path = folder / "config.json"
    content = read_small_json(path)
    if (kind := content.get("model_type", "ofa")) != "ofa":
        raise ValueError(f"{folder}: config.json is of a {kind!r} model; only OFA can be opened")
    fields = check_against(OFA, content, path)
    if faults := find_foreign_faults((fields.get("vision") or {}).get("config"), "vision.config"):
        raise ValueError(f"{path}: {'; '.join(faults[:5])}")
    with opening(folder, "configuration (config.json)"):
        config = OFAConfig(**fields)
        ids = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
        if outside := [name for name in ids if getattr(config, name) >= config.vocab_size]:
            raise ValueError(f"{outside[0]}={getattr(config, outside[0])} is outside of the vocabulary")
    return config


def load_weights(folder: Path, config: OFAConfig | None = None) -> OFAForConditionalGeneration:
    """Open the weights of a folder, strictly.

    They are held against the configuration before memory is taken for a model, which a wrong one could make of any
    size.

    Args:
        folder: Configuration and weights.
        config: Its configuration, if it has been read already.

    Raises:
        ValueError: If a parameter is missing, unknown, or of another shape, by name; if a file is damaged.
    """
    config = read_config(folder) if config is None else config
    weights = read_weights(folder)
    with opening(folder, "configuration (config.json)"), torch.device("meta"):
        shapes = OFAForConditionalGeneration(config)
    weights = drop_prefixes(weights, shapes.state_dict(), folder)
    named = shapes.named_vision_weights()
    faults = find_misfits(shapes, weights, shapes.tied_names(), shapes._keys_to_ignore_on_load_missing)
    if not faults:
        owned = {name: tensor.clone() for name, tensor in weights.items()}  # files may change while a model is in use
        with opening(folder, "weights"):
            model = OFAForConditionalGeneration.from_pretrained(None, config=config, state_dict=owned)
        if config.share_decoder_input_output_embed and not model.projection_is_tied:
            check_finite(model, folder)  # NaN differs from itself
            faults.append("decoder.output_projection.weight differs from the embedding that it should share")
    if faults:
        raise ValueError(describe_misfits(folder, faults))
    if named:
        model.encoder.embed_images.load_state_dict(
            load_named(cast(VisionDescription, config.vision), folder).state_dict()
        )
    # One table for both, as in a new model: 25 MB at the published size.
    model.decoder.image_rp_bucket = model.encoder.image_rp_bucket
    return model.eval()


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
    tokenizer.save_to_dir(folder)
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
