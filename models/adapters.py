"""LoRA beside a captioner's frozen weights, and rows of its own for each style token, through the library peft.

Nothing else knows of it: layers are replaced inside the captioner's module, which is called, sampled and evaluated as
before, and put back with the adapters merged into their weights.

Source:
    Hu et al. 2021, arXiv:2106.09685. Files are those of peft 0.21.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.captioner import Captioner
from models.quantized import Quantize, QuantizedLayers
from models.settings import WEIGHT_FILES
from models.weights import INDEXES
from utils.small_json import read_small_json

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
INSTALL = "bash scripts/setup.sh --lora"
NAME = "default"
"""Of the adapter, as peft calls its first."""
PREFIX = "base_model.model."
"""Before the names in peft's files."""


class AdapterShape(NamedTuple):
    """What adapters are made like."""

    rank: int
    """Rows of A, columns of B."""
    alpha: float
    """What they add is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Of their inputs, in training."""
    targets: str | None = None
    """Expression that the whole names of adapted layers match; None = the captioner's own."""


class Adapters:
    """Adapters in a captioner, in place; its other weights have ``requires_grad`` off from then on.

    Args:
        captioner: With all its style tokens. Names layers as ``lora_targets``, if its class does.
        shape: Of the adapters.
        style_tokens: Entries of the vocabulary whose rows are trained.
        base: Name of the model, for whoever opens the files.
        seed: Of the first values of A; those of B are 0, so that nothing changes yet.
        quantize: Hold other weights in fewer bits while the adapters are trained, see
            :class:`models.quantized.QuantizedLayers`.

    Attributes:
        layers: Names of the layers that have one.

    Raises:
        ValueError: If peft is not installed, or layers cannot be adapted.
    """

    def __init__(
        self,
        captioner: Captioner,
        shape: AdapterShape,
        style_tokens: Sequence[str],
        *,
        base: str,
        seed: int,
        quantize: Quantize | None = None,
    ) -> None:
        if importlib.util.find_spec("peft") is None:
            raise ValueError(f"lora.rank={shape.rank}: adapters need peft, which is not installed: {INSTALL}")
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel

        module = captioner.module
        expression = targets_of(captioner, shape.targets)
        self.layers = _adaptable(captioner, expression)
        self._quantized = None if quantize is None else QuantizedLayers(captioner, quantize)
        embedding, *tied = _sharing_embedding(captioner) if style_tokens else [""]
        rows = {embedding: _rows_of(captioner, style_tokens)} if style_tokens else None
        self._config = LoraConfig(
            r=shape.rank,
            lora_alpha=shape.alpha,  # type: ignore[arg-type]  # a factor
            lora_dropout=shape.dropout,
            target_modules=expression,
            trainable_token_indices=rows,
            base_model_name_or_path=base,
            inference_mode=False,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self._tuner: Any = LoraModel(module, self._config, NAME)
        _check_tied(module, tied)
        _keep_biases(module)
        self._merged: dict[str, Tensor] | None = None

    @property
    def module(self) -> nn.Module:
        """The captioner's."""
        module: nn.Module = self._tuner.model
        return module

    def state(self) -> dict[str, Tensor]:
        """Their weights by the names in peft's files, those of the style rows among them."""
        if self._merged is not None:
            return self._merged
        from peft import get_peft_model_state_dict

        # Whether the embedding was resized is not to be asked of the base's folder, or the hub: its new rows are here.
        found = get_peft_model_state_dict(self.module, adapter_name=NAME, save_embedding_layers=False)
        return {PREFIX + name: tensor for name, tensor in found.items()}

    def save(self, folder: Path) -> None:
        """Write a folder that ``peft.PeftModel.from_pretrained`` opens as well."""
        folder.mkdir(parents=True, exist_ok=True)
        self._config.save_pretrained(str(folder))
        weights = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state().items()}
        save_file(weights, folder / WEIGHTS_FILE, metadata={"format": "pt"})

    def load(self, folder: Path) -> None:
        """Take the weights that :meth:`save` wrote.

        Raises:
            ValueError: If they are of other adapters than these.
        """
        given, own = load_file(folder / WEIGHTS_FILE), self.state()
        differing = {name for name in given.keys() | own.keys() if _shape(given, name) != _shape(own, name)}
        if differing:
            name = min(differing)
            raise ValueError(
                f"{folder / WEIGHTS_FILE}: has other adapters than this run: {name} is {_shape(given, name)} there and "
                f"{_shape(own, name)} here, and {len(differing) - 1} more differ"
            )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(given[name])

    def merge(self) -> None:
        """Put the original layers back, with what was learnt added to their weights; :meth:`save` still works."""
        if self._merged is not None:
            return
        self._merged = {name: tensor.detach().cpu().clone() for name, tensor in self.state().items()}
        if self._quantized is None:
            self._tuner.merge_and_unload()
            return
        layers: dict[str, Any] = {name: self.module.get_submodule(name) for name in self.layers}
        learnt = {name: layer.get_delta_weight(NAME).detach() for name, layer in layers.items()}
        self._tuner.merge_and_unload()
        self._quantized.restore(learnt)  # in few bits, what is added to a weight would mostly be lost


def refuse_adapters_alone(folder: Path) -> None:
    """Tell whoever opens a folder of adapters as a model what it is.

    Raises:
        ValueError: If the folder holds adapters and no weights of a model.
    """
    whole = any((folder / name).is_file() for name in (*WEIGHT_FILES, *INDEXES))
    if whole or not (folder / CONFIG_FILE).is_file():
        return
    base = str(read_small_json(folder / CONFIG_FILE).get("base_model_name_or_path"))[:200]
    raise ValueError(
        f"{folder}: holds adapters (LoRA) and not the model that they belong to, {base!r}; "
        "the output/ of their run holds both in one"
    )


def targets_of(captioner: Captioner, targets: str | None) -> str:
    """The expression for the names of adapted layers.

    Args:
        captioner: Its class may have one, ``lora_targets``.
        targets: The user's; None = that of the class.

    Raises:
        ValueError: If there is none.
    """
    expression: str | None = targets or getattr(captioner, "lora_targets", None)
    if expression is None:
        raise ValueError(
            f"lora.targets: {type(captioner).__name__} does not say which of its layers to adapt; give an expression"
        )
    return expression


def adapts(captioner: Captioner, part: str, targets: str | None) -> bool:
    """Whether an expression names layers of a part of the captioner, see :meth:`Captioner.parts`."""
    inside = {id(module) for whole in captioner.parts()[part] for module in whole.modules()}
    expression = re.compile(targets_of(captioner, targets))
    named = captioner.module.named_modules()
    return any(expression.fullmatch(name) is not None and id(module) in inside for name, module in named)


def _adaptable(captioner: Captioner, expression: str) -> list[str]:
    named = dict(captioner.module.named_modules())
    found = {name: module for name, module in named.items() if re.fullmatch(expression, name)}
    linear = [name for name, module in named.items() if isinstance(module, nn.Linear)]
    if not found:
        raise ValueError(
            f"lora.targets={expression!r}: matches the whole name of no layer; there are {len(linear)} linear ones, "
            f"such as {', '.join(linear[:: max(1, len(linear) // 3)][:3])}"
        )
    if others := [name for name in found if name not in linear]:
        kind = type(found[others[0]]).__name__
        raise ValueError(
            f"lora.targets={expression!r}: matches {others[0]}, a {kind} ({len(others)} such); only linear layers are "
            "adapted"
        )
    ends = {id(module) for module in captioner.parts()["embeddings"]}
    if tied := [name for name, module in found.items() if id(module) in ends]:
        raise ValueError(
            f"lora.targets={expression!r}: matches {tied[0]}, the projection onto the vocabulary, whose weights are "
            "the embedding's; leave it out"
        )
    return [*found]


def _sharing_embedding(captioner: Captioner) -> list[str]:
    """Names of the modules whose weight is the embedding's, its own first."""
    embedding = captioner.parts()["embeddings"][0]
    named = dict(captioner.module.named_modules(remove_duplicate=False))
    sharing = [name for name, module in named.items() if getattr(module, "weight", None) is embedding.weight]
    return sorted(sharing, key=lambda name: named[name] is not embedding)


def _rows_of(captioner: Captioner, style_tokens: Sequence[str]) -> list[int]:
    rows = [captioner.tokenizer.encode_text(token) for token in style_tokens]
    assert all(len(row) == 1 for row in rows), rows
    return [row[0] for row in rows]


def _check_tied(module: nn.Module, tied: Sequence[str]) -> None:
    """Refuse a model whose ties peft did not see: the rows would be trained in one place and not in the others."""
    from peft.utils.other import TrainableTokensWrapper

    for name in tied:
        if not isinstance(module.get_submodule(name), TrainableTokensWrapper):
            raise ValueError(
                f"lora.rank: {name} shares the embedding in a way that peft does not see, so that style tokens cannot "
                "be trained beside it; use style.inject=words"
            )


def _keep_biases(module: nn.Module) -> None:
    """Peft's stand-in for a tied projection multiplies and adds no bias, which BLIP's has."""
    from peft.utils.other import TrainableTokensWrapper

    for stand_in in module.modules():
        if isinstance(stand_in, TrainableTokensWrapper) and getattr(stand_in.original_module, "bias", None) is not None:
            stand_in.register_forward_hook(_add_bias)


def _add_bias(stand_in: Any, _: Any, product: Tensor) -> Tensor:
    bias: Tensor = stand_in.original_module.bias
    return product + bias.to(product.dtype)


def _shape(state: Mapping[str, Tensor], name: str) -> tuple[int, ...] | str:
    return tuple(state[name].shape) if name in state else "absent"
