"""What other training programs put around a state dict, taken off: a dictionary around it, a prefix on its names."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

WRAPPERS = ("state_dict", "model", "module")
"""Keys that training programs keep a state dict under: Lightning, fairseq, DeepSpeed."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""Put before every name by DistributedDataParallel, torch.compile, and a module that holds the model."""
ALONE = "Save the tensors alone where the file was made: torch.save(model.state_dict(), FILE)."


class NotTensors(ValueError):
    """A file that is whole and holds something else than tensors by name; its message ends with the remedy."""


def unwrap(state: Any, file: Path) -> dict[str, Tensor]:
    """The tensors in what was read from a file: its own, or those one level below in one of ``WRAPPERS``.

    Args:
        state: As ``torch.load(weights_only=True)`` gives it.
        file: For messages and the log.

    Raises:
        NotTensors: If there are none, none by name alone, or more than one set of them.
    """
    if not isinstance(state, Mapping):
        raise NotTensors(f"it holds a {type(state).__name__}, not tensors by name. {ALONE}")
    inside = {key: state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)}
    if not inside:
        return _take(state, "it")
    whole = [key for key, found in inside.items() if found and _stranger(found) is None]
    if len(whole) > 1:
        raise NotTensors(f"it holds tensors under {' and '.join(map(repr, whole))}: which, it does not say. {ALONE}")
    key = whole[0] if whole else next(iter(inside))
    tensors = _take(inside[key], f"{key!r} in it")
    logger.info("%s: the weights are those under %r; what stands beside it is not used", file, key)
    return tensors


def _take(found: Mapping[Any, Any], what: str) -> dict[str, Tensor]:
    if not found:
        raise NotTensors(f"{what} holds no tensors. {ALONE}")
    if (name := _stranger(found)) is not None:
        raise NotTensors(f"{what} holds {name[:80]!r}, which is no tensor of numbers. {ALONE}")
    return {name: tensor.detach() for name, tensor in found.items()}


def _stranger(found: Mapping[Any, Any]) -> str | None:
    """The first name of what is no plain tensor."""
    for name, tensor in found.items():
        plain = isinstance(name, str) and isinstance(tensor, Tensor) and tensor.layout == torch.strided
        if not plain or tensor.is_quantized or tensor.is_meta:
            return str(name)
    return None


def drop_prefixes(weights: dict[str, Tensor], wanted: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """The weights under the names of a model, if what all of them share before these is in ``PREFIXES``.

    Args:
        weights: By name.
        wanted: By its names, which are left as they are.
        folder: For messages and the log.

    Raises:
        ValueError: If a part of the names has such a prefix.
    """
    names = list(weights)
    dropped = ""
    for _ in PREFIXES:  # each once at most: what is made to have thousands is no work
        prefix = next((one for one in PREFIXES if any(_has(name, one, wanted) for name in names)), None)
        if prefix is None:
            break
        if count := sum(not name.startswith(prefix) for name in names):
            raise ValueError(
                f"{folder}: the weights cannot be opened: {len(names) - count} of their {len(names)} names begin with "
                f"{prefix!r} and {count} do not, so they are of two models or saved in two ways. {ALONE}"
            )
        names = [name.removeprefix(prefix) for name in names]
        dropped += prefix
    if dropped:
        logger.info("%s: %r before each name of the weights is left out", folder, dropped)
    return dict(zip(names, weights.values(), strict=True))


def _has(name: str, prefix: str, wanted: Mapping[str, Any]) -> bool:
    return name.startswith(prefix) and name not in wanted


def explain_refusal(error: pickle.UnpicklingError) -> str:
    """Why torch refused to unpickle a file, and the remedy.

    torch's own message advises to run what is in the file, whoever made it.
    """
    named = re.search(r"\bGLOBAL ([\w.]{1,100})", str(error))
    if named is None:
        return (
            "it is damaged, no file of torch.save, or holds objects other than tensors. Copy it again from where the "
            "model came from, or save the tensors alone there."
        )
    return (
        f"beside tensors it holds objects of Python ({named[1]}), which can run anything and are not opened here. "
        f"{ALONE} Or, only if you trust who made it, read it in a program of your own with torch.load(FILE, "
        "weights_only=False) and save its tensors alone."
    )
