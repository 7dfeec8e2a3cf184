"""Folders of transformers' captioners: read without running anything, and written so that transformers opens them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from models.bounds import find_foreign_faults
from models.captioner import VisionInfo
from models.settings import CaptionerSettings
from models.vision.pictures import PICTURE_FILES, read_pictures
from models.weights import describe_misfits, find_misfits, opening, read_weights
from models.wrapping import drop_prefixes
from preprocessors.pictures.images import Normalisation
from preprocessors.text.bpe_files import read_appended
from utils.io import write_json
from utils.small_json import DESCRIPTION_BYTES, REMEDY, check_against, read_small_json

N = TypeVar("N", bound=PreTrainedModel)
WEIGHTS = "model.safetensors"
CHAT_TEMPLATE = "chat_template.jinja"
OLD_BUFFERS = ("position_ids",)
"""Ends of names of what older files hold beside weights: it follows from the configuration."""


def read_fields(folder: Path, table: TypeAdapter[Any], class_name: str) -> dict[str, Any]:
    """What a family's table knows of ``config.json``; the rest, which can name code, is left out.

    Args:
        folder: Of the model.
        table: Of the family.
        class_name: The library's class that the folder must hold.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is of another class, or an entry has another type or is out of bounds, by name.
    """
    path = folder / "config.json"
    content = read_small_json(path)
    classes = content.get("architectures") or [class_name]
    if class_name not in classes:
        raise ValueError(f"{path}: is of a {str(classes[0])[:80]}; of this kind only {class_name} writes captions")
    if faults := find_foreign_faults(content, "config"):
        raise ValueError(f"{path}: {'; '.join(faults[:5])}")
    return check_against(table, content, path)


def check_ids(folder: Path, ids: Mapping[str, int], entries: int) -> None:
    """Refuse token ids of a configuration that are outside of its vocabulary.

    Raises:
        ValueError: Naming the first.
    """
    for name, number in ids.items():
        if number >= entries:
            raise ValueError(f"{folder / 'config.json'}: {name}={number} is outside of the vocabulary of {entries:,}")


def load_network(folder: Path, network: type[N], config: PreTrainedConfig, older: Mapping[str, str] | None = None) -> N:
    """Open the weights of a folder, strictly, in float32 and evaluation mode.

    They are held against the configuration before memory is taken for a model, which a wrong one could make of any
    size.

    Args:
        folder: Of the model.
        network: Its class.
        config: Its configuration.
        older: Beginnings of names in older files, and what they are now; the first that fits counts.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If a parameter is missing, unknown, or of another shape, by name; if a file is damaged.
    """
    weights = read_weights(folder)
    with opening(folder, "configuration (config.json)"), torch.device("meta"):
        shapes = network(config)
    weights = drop_prefixes(_renamed(folder, weights, older or {}), shapes.state_dict(), folder)
    weights = {name: tensor for name, tensor in weights.items() if not name.endswith(OLD_BUFFERS)}
    if faults := find_misfits(shapes, weights, _tied(shapes)):
        raise ValueError(describe_misfits(folder, faults))
    owned = {name: tensor.clone() for name, tensor in weights.items()}  # files may change while a model is in use
    with opening(folder, "weights"):
        model = network.from_pretrained(None, config=config, state_dict=owned, dtype=torch.float32)
    return cast(N, model.eval())


def _renamed(folder: Path, weights: Mapping[str, Tensor], older: Mapping[str, str]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        old = next((old for old in older if name.startswith(old)), "")
        now = older.get(old, "") + name.removeprefix(old)
        if now in renamed:
            raise ValueError(f"{folder}: the weights cannot be opened: they hold {now} under two names")
        renamed[now] = tensor
    return renamed


def _tied(network: PreTrainedModel) -> list[frozenset[str]]:
    together: dict[str, set[str]] = {}
    for name, source in network.all_tied_weights_keys.items():
        together.setdefault(source, {source}).add(name)
    return [frozenset(names) for names in together.values()]


def vision_of(folder: Path, image_size: int) -> VisionInfo:
    """How pictures are made for a model, from its processor's files.

    Args:
        folder: Of the model.
        image_size: That its vision network was made for, pixels.

    Raises:
        FileNotFoundError: If it has none.
        ValueError: If they are damaged, or pictures are to be made in a way that is not ours.
    """
    if not any((folder / name).is_file() for name in PICTURE_FILES):
        raise FileNotFoundError(
            f"{folder}: has no processor, which says how pictures are made ({' or '.join(PICTURE_FILES)}). Copy it "
            "from where the model came from."
        )
    with opening(folder, "processor's description"):
        facts = read_pictures(folder, image_size)
        mean, std = (tuple(float(value) for value in facts[name]) for name in ("mean", "std"))
        is_right = all(abs(value) <= 1000 for value in mean) and all(1e-6 <= value <= 1000 for value in std)
        if not (is_right and len(mean) == len(std) == 3):
            raise ValueError(f"mean {mean} and deviation {std} must be three numbers each, the latter above 0")
    return VisionInfo(facts["size"], Normalisation(mean, std), is_pretrained=False)


def check_picture_slot(folder: Path, slot: str) -> None:
    """Refuse a folder whose chat template has no place for a picture; one without a template is as good as any.

    The template is a program and never run, only looked into.

    Args:
        folder: Of the model.
        slot: What such a template writes where a picture comes.

    Raises:
        ValueError: If the template that the library would use lacks it, or its file is damaged.
    """
    found = next(((name, text) for name, text in _chat_templates(folder) if text), None)
    if found is not None and slot not in found[1]:
        raise ValueError(
            f"{folder / found[0]}: its chat template has no place for a picture ({slot}), so it is of a model for text "
            "alone. Copy it again from where the model came from, or remove it: conversations here are those that the "
            "models were trained on"
        )


def _chat_templates(folder: Path) -> Iterator[tuple[str, str]]:
    """File and text of each, in the order in which the library's processors look."""
    for name in ("processor_config.json", "chat_template.json"):
        if (folder / name).is_file():
            template = read_small_json(folder / name).get("chat_template") or ""
            yield name, template if isinstance(template, str) else json.dumps(template)  # several, each with a name
    path = folder / CHAT_TEMPLATE
    if path.is_file():
        if (size := path.stat().st_size) > DESCRIPTION_BYTES:
            raise ValueError(f"{path}: has {size:,} bytes, and at most {DESCRIPTION_BYTES:,} are read. {REMEDY}")
        yield path.name, path.read_text(encoding="utf-8", errors="replace")


def read_style_tokens(folder: Path) -> list[str]:
    """Those that we have put behind a vocabulary; of other people's folders none.

    Raises:
        ValueError: If ``tokenizer_config.json`` is damaged, or they are no list of texts.
    """
    return list(read_appended(folder).get("style_tokens", ()))


def write_companions(
    folder: Path,
    network: PreTrainedModel,
    class_name: str,
    *,
    processor: Callable[[Any, int], Mapping[str, Any]],
    tokenizer: Mapping[str, Any],
    vision: VisionInfo,
    settings: CaptionerSettings | None,
) -> None:
    """Write what stands beside weights, but for the vocabulary.

    Args:
        folder: Is there.
        network: The model.
        class_name: The library's class that opens the folder.
        processor: Of the picture's processor, what is the family's own, for a configuration and so many pixels a side.
        tokenizer: Content of ``tokenizer_config.json``.
        vision: How pictures are made where the settings do not say it.
        settings: How it is used.
    """
    fields = json.loads(network.config.to_json_string(use_diff=False))
    write_json(folder / "config.json", fields | {"architectures": [class_name]})
    write_json(folder / "tokenizer_config.json", {**tokenizer})
    size, mean_std = (vision.image_size, vision.mean_std)
    if settings is not None:
        size, mean_std = settings.image_size, settings.mean_std
    pictures: dict[str, Any] = {"do_resize": True, "resample": 3, "do_rescale": True, "rescale_factor": 1 / 255}
    pictures |= {"do_normalize": True, "image_mean": [*mean_std.mean], "image_std": [*mean_std.std]}
    write_json(folder / PICTURE_FILES[0], pictures | {**processor(network.config, size)})
    section = {} if settings is None else settings.to_model_section()
    write_json(folder / "configuration.json", {"framework": "pytorch", "task": "image-captioning", "model": section})


def write_weights(folder: Path, network: PreTrainedModel) -> None:
    """Write ``model.safetensors``, each tensor once; renamed into place, so that a folder with weights is complete."""
    tied = network.all_tied_weights_keys
    state: dict[str, Tensor] = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items() if name not in tied
    }
    partial = folder / f"{WEIGHTS}.partial"
    save_file(state, partial, metadata={"format": "pt"})
    os.replace(partial, folder / WEIGHTS)
