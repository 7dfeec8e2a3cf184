"""Frozen linear layers in 8 or 4 bits while adapters are trained beside them, through the library bitsandbytes.

Source:
    Dettmers et al. 2022, arXiv:2208.07339 (int8); Dettmers et al. 2023, arXiv:2305.14314 (nf4).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models.captioner import Captioner

INSTALL = "bash scripts/setup.sh --quantize"
Quantize = Literal["int8", "nf4"]
FLAGS = {"int8": "is_loaded_in_8bit", "nf4": "is_loaded_in_4bit"}
"""Attributes of a module by which peft knows what to put beside its layers."""


class QuantizedLayers:
    """A captioner's linear layers in fewer bits, in place, but for vision network and vocabulary.

    They become so once the module is moved to its device. Their originals stay in the memory of the CPU.

    Args:
        captioner: On the CPU.
        kind: Of numbers.

    Raises:
        ValueError: If bitsandbytes is not installed.
    """

    def __init__(self, captioner: Captioner, kind: Quantize) -> None:
        if importlib.util.find_spec("bitsandbytes") is None:
            raise ValueError(f"lora.quantize={kind}: needs bitsandbytes, which is not installed: {INSTALL}")
        self.module, self._flag = captioner.module, FLAGS[kind]
        parts = captioner.parts()
        kept = {id(layer) for part in ("vision", "embeddings") for whole in parts[part] for layer in whole.modules()}
        named = dict(self.module.named_modules())
        self.originals = {
            name: layer for name, layer in named.items() if type(layer) is nn.Linear and id(layer) not in kept
        }
        for name, layer in self.originals.items():
            self.module.set_submodule(name, _in_fewer_bits(layer, kind))
        setattr(self.module, self._flag, True)

    def restore(self, learnt: Mapping[str, Tensor]) -> None:
        """Put the originals back, where the module is now, with what was learnt added to their weights.

        Args:
            learnt: Of some of them by name, in the shape of their weights.
        """
        for name, layer in self.originals.items():
            stands_in = self.module.get_submodule(name)
            layer.to(next(stands_in.parameters()).device)
            if name in learnt:
                with torch.no_grad():
                    layer.weight += learnt[name]
            self.module.set_submodule(name, layer)
        delattr(self.module, self._flag)


def _in_fewer_bits(layer: nn.Linear, kind: Quantize) -> nn.Linear:
    import bitsandbytes

    places, weight = (layer.in_features, layer.out_features), layer.weight.detach().clone()
    made: Any
    if kind == "nf4":
        made = bitsandbytes.nn.Linear4bit(*places, bias=layer.bias is not None, quant_type="nf4")
        made.weight = bitsandbytes.nn.Params4bit(weight, requires_grad=False, quant_type="nf4")
    else:
        made = bitsandbytes.nn.Linear8bitLt(*places, bias=layer.bias is not None, has_fp16_weights=False)
        made.weight = bitsandbytes.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    linear: nn.Linear = made.train(layer.training)
    return linear
