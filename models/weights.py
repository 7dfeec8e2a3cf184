"""Weights of a model folder: read without running anything, held against a model before it is made, and finite."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.settings import WEIGHT_FILES
from models.wrapping import NotTensors, explain_refusal, unwrap
from utils.errors import NoNumbers, first_line
from utils.small_json import read_small_json

INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
"""Name the files that weights are divided into, if they are."""
BLOW_UP = 4
"""Most bytes of tensors for a byte of file. Tied tables are in a file once and in a model up to three times."""
SMALL = 64_000_000
"""Bytes of tensors that any file may hold."""


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights of a folder.

    Raises:
        FileNotFoundError: If there are none, or one that an index names is not there.
        ValueError: If an index is damaged, or leads out of the folder.
    """
    for name, index in zip(WEIGHT_FILES, INDEXES, strict=True):
        if (folder / name).is_file():
            return [folder / name]
        if (folder / index).is_file():
            return _read_index(folder / index)
    raise FileNotFoundError(f"{folder}: no weights ({' or '.join(WEIGHT_FILES)})")


def _read_index(index: Path) -> list[Path]:
    named = read_small_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) and name for name in named.values()):
        raise ValueError(f"{index}: is damaged; it does not name its files in weight_map")
    files = sorted(set(named.values()))
    for name in files:
        if re.search(r"[/\\:]|^\.", name):
            raise ValueError(f"{index}: names the file {name!r}, which is outside of its folder")
        if not (index.parent / name).is_file():
            raise FileNotFoundError(f"{index}: names {name}, which is missing")
    return [index.parent / name for name in files]


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Weights by name, on the CPU; mapped from their files, so that names and shapes cost next to nothing.

    Of a training program's own file, the state dict in it.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If a file is damaged, or tensors are not found in it; nothing in it is ever run.
    """
    weights: dict[str, Tensor] = {}
    files = weight_files(folder)
    for file in files:
        try:
            weights |= load_file(file) if file.suffix == ".safetensors" else _read_torch(file)
        except (NotTensors, pickle.UnpicklingError) as error:
            cause = explain_refusal(error) if isinstance(error, pickle.UnpicklingError) else str(error)
            raise ValueError(f"{folder}: the weights cannot be opened: {file.name}: {cause}") from error
        except Exception as error:  # safetensors, pickle and torch share no base class
            cause = first_line(error)[:500]
            raise ValueError(f"{folder}: the weights cannot be opened: {file.name}: {cause}. {_AGAIN}") from error
    size = sum(file.stat().st_size for file in files)
    if sum(tensor.numel() * tensor.element_size() for tensor in weights.values()) > max(BLOW_UP * size, SMALL):
        raise ValueError(f"{folder}: the weights cannot be opened: they claim more tensors than bytes. {_AGAIN}")
    return weights


_AGAIN = "Copy the files again from where the model came from."


def _read_torch(file: Path) -> dict[str, Tensor]:
    mapped = zipfile.is_zipfile(file)
    if mapped:
        with zipfile.ZipFile(file) as archive:  # torch compresses nothing; who does wants to fill the memory
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed")
    return unwrap(torch.load(file, weights_only=True, map_location="cpu", mmap=mapped), file)


def find_misfits(
    model: nn.Module, weights: Mapping[str, Tensor], tied: Iterable[frozenset[str]], absent: Iterable[str] = ()
) -> list[str]:
    """In what weights do not fit a model, a reason for each; empty if they fit.

    Args:
        model: Its shapes; on the meta device it has no memory.
        weights: By name.
        tied: Sets of names for one tensor, of which one is enough.
        absent: Patterns of names that need not be there.
    """
    wanted = model.state_dict()
    given = set(weights) | {name for names in tied if names & weights.keys() for name in names}
    needed = (name for name in sorted(wanted.keys() - given) if not any(re.search(one, name) for one in absent))
    faults = [f"parameter {name} is missing" for name in needed]
    faults += [f"{name} is not a parameter of the model" for name in sorted(weights.keys() - wanted.keys())]
    for name in sorted(wanted.keys() & weights.keys()):
        found, asked = weights[name], wanted[name]
        if found.shape != asked.shape:
            shapes = f"has shape {tuple(found.shape)}, the configuration asks for {tuple(asked.shape)}"
            faults.append(f"{name} {shapes}")
        elif found.is_floating_point() != asked.is_floating_point() or found.is_complex():
            faults.append(f"{name} holds numbers of type {found.dtype}, not {asked.dtype}")
    return faults


def describe_misfits(folder: Path, faults: Sequence[str]) -> str:
    """What to say of a checkpoint with such faults, of which there is one at least."""
    rest = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
    return (
        f"{folder}: the checkpoint does not fit its config.json: {'; '.join(faults[:5])}{rest}. "
        "Use the config.json that came with the weights, or copy the weights again."
    )


@contextmanager
def opening(folder: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises over a damaged file into one message."""
    try:
        yield
    except Exception as error:  # the configuration classes and torch share no base class
        raise ValueError(f"{folder}: the {what} cannot be opened: {first_line(error)[:500]}. {_AGAIN}") from error


def check_finite(module: nn.Module, where: Any) -> None:
    """Refuse weights that are no numbers, in one pass over them.

    Args:
        module: On any device.
        where: Its folder, for the message.

    Raises:
        NoNumbers: Naming the first tensor with a NaN or an infinity in it, and how many there are.
    """
    bad = [name for name, tensor in module.state_dict().items() if not _is_finite(tensor)]
    if bad:
        more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
        raise NoNumbers(
            f"{where}: the weights are no numbers: NaN or infinite values in {bad[0]}{more}. Nothing can be captioned "
            "or trained with them; go back to an earlier model or checkpoint, or copy the files again."
        )


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or tensor.is_meta:
        return True
    # A sum is a third of the price of a mask; only what overflows it is looked at again.
    return bool(tensor.sum(dtype=torch.float32).isfinite()) or bool(tensor.isfinite().all())
