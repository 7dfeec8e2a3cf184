"""What the published sizes of each captioner take: parameters, memory and arithmetic, worked out and not measured.

    python benchmarks/model_sizes.py                          # one JSON object a size
    python benchmarks/model_sizes.py --page docs/models.md    # and write the page's tables anew

Models are built on torch's meta device, which holds shapes and no numbers: the largest takes no memory. Parameters
are counted once each where they are tied. Memory is that of weights alone:

    bf16 weights              2 bytes a parameter
    training                 16 bytes a parameter that is trained (float32 weight and gradient, AdamW's two moments)
                              and 4 of one that is not

without activations, which depend on batch and picture (``finetune.py --conf FILE --dry-run`` measures them).
Arithmetic is torch's own count of the operations of matrices and convolutions, two for each product that is added, in
StyleCap's way: the picture and a prompt of 16 tokens once, and the scores of a caption of 20 tokens behind them. A
step of training is about three times that.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import BlipConfig, Florence2Config, Idefics3Config, PaliGemmaConfig, SmolVLMConfig

from models import CAPTIONERS
from models.hf.blip import BlipNetwork
from models.hf.florence2 import Florence2Network
from models.hf.paligemma import PaliGemmaNetwork
from models.hf.smolvlm import Idefics3Network, SmolVLMNetwork, Template
from models.ofa.configuration_ofa import PRESETS, OFAConfig
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from utils.io import encode_json, write_text

PROMPT, CAPTION = 16, 20
TRAINED_BYTES, FROZEN_BYTES, HALF_BYTES = 16, 4, 2
GIB = 2**30


class Shape(NamedTuple):
    """A published size.

    Attributes:
        name: For people.
        network: Our class of it.
        config: Its configuration.
        image_size: Of the pictures it was made for, pixels.
    """

    name: str
    network: Any
    config: Any
    image_size: int


def _transformer(width: int, inner: int, layers: int, heads: int) -> dict[str, int]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return dict(zip(names, (width, inner, layers, heads), strict=True))


def _blip(name: str, vision: Mapping[str, int]) -> Shape:
    text = _transformer(768, 3072, 12, 12) | {"vocab_size": 30_524, "max_position_embeddings": 512}
    config = BlipConfig(text_config=text, vision_config={**vision, "image_size": 384, "patch_size": 16})
    return Shape(name, BlipNetwork, config, 384)


def _florence2(name: str, width: int, layers: int, heads: int, vision_width: int, positions: int) -> Shape:
    text: dict[str, Any] = {"model_type": "bart", "vocab_size": 51_289, "d_model": width}
    text["max_position_embeddings"] = positions
    for side in ("encoder", "decoder"):
        text |= {f"{side}_layers": layers, f"{side}_attention_heads": heads, f"{side}_ffn_dim": 4 * width}
    groups = [vision_width // 32 * times for times in (1, 2, 4, 8)]
    vision = {"embed_dim": [32 * number for number in groups], "num_heads": groups, "num_groups": groups}
    vision |= {"depths": [1, 1, 9, 1], "projection_dim": width}
    return Shape(name, Florence2Network, Florence2Config(text_config=text, vision_config=vision), 768)


SIGLIP_BASE = _transformer(768, 3072, 12, 12) | {"image_size": 512, "patch_size": 16}
SIGLIP_SO400M = _transformer(1152, 4304, 27, 16) | {"patch_size": 14}


def _smolvlm(
    name: str, network: Any, kind: Any, text: Mapping[str, int], vision: Mapping[str, int], fold: int
) -> Shape:
    config = kind(
        text_config={**text, "model_type": "llama", "max_position_embeddings": 8192, "pad_token_id": 2},
        vision_config={**vision},
        scale_factor=fold,
        tie_word_embeddings=False,
    )
    return Shape(name, network, config, vision["image_size"])


def _paligemma(name: str, text: Mapping[str, Any], image_size: int) -> Shape:
    vision = {**SIGLIP_SO400M, "image_size": image_size, "model_type": "siglip_vision_model", "vision_use_head": False}
    width = text["hidden_size"]
    config = PaliGemmaConfig(
        text_config={"vocab_size": 257_216, "head_dim": 256, **text},
        vision_config=vision,
        projection_dim=width,
        hidden_size=width,
        image_token_index=257_152,
    )
    return Shape(name, PaliGemmaNetwork, config, image_size)


GEMMA = {**_transformer(2048, 16_384, 18, 8), "num_key_value_heads": 1, "model_type": "gemma"}
GEMMA_2 = {**_transformer(2304, 9216, 26, 8), "num_key_value_heads": 4, "model_type": "gemma2"}
SMOLLM2 = {
    "256M": {**_transformer(576, 1536, 30, 9), "num_key_value_heads": 3, "vocab_size": 49_280},
    "500M": {**_transformer(960, 2560, 32, 15), "num_key_value_heads": 5, "vocab_size": 49_280},
    "2.2B": {**_transformer(2048, 8192, 24, 32), "num_key_value_heads": 32, "vocab_size": 49_155},
}


def shapes() -> list[Shape]:
    """The sizes that people use, the smallest of a family first."""
    ofa = [
        Shape(f"OFA {name}", OFAForConditionalGeneration, OFAConfig(**PRESETS[name]), 480)
        for name in ("tiny", "medium", "base", "large")
    ]
    return [
        *ofa,
        _blip("BLIP base", _transformer(768, 3072, 12, 12)),
        _blip("BLIP large", _transformer(1024, 4096, 24, 16)),
        _florence2("Florence-2 base", 768, 6, 12, 128, 1024),
        _florence2("Florence-2 large", 1024, 12, 16, 256, 4096),
        _smolvlm("SmolVLM 256M", Idefics3Network, Idefics3Config, SMOLLM2["256M"], SIGLIP_BASE, 4),
        _smolvlm("SmolVLM 500M", Idefics3Network, Idefics3Config, SMOLLM2["500M"], SIGLIP_BASE, 4),
        _smolvlm(
            "SmolVLM2 2.2B", SmolVLMNetwork, SmolVLMConfig, SMOLLM2["2.2B"], {**SIGLIP_SO400M, "image_size": 384}, 3
        ),
        _paligemma("PaliGemma 3B 224", GEMMA, 224),
        _paligemma("PaliGemma 3B 448", GEMMA, 448),
        _paligemma("PaliGemma 2 3B 224", GEMMA_2, 224),
    ]


class _NothingFilledUp(TorchDispatchMode):
    """Answers no to what a network asks of numbers that are not there: whether anything is filled up."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return False
        return func(*args, **(kwargs or {}))


def work_out(shape: Shape) -> dict[str, Any]:
    """Parameters, bytes and operations of a size."""
    with torch.device("meta"):
        network = shape.network(shape.config).eval().requires_grad_(False)
    is_ofa = shape.network is OFAForConditionalGeneration
    vision = network.encoder.embed_images if is_ofa else network.vision_network()
    parameters, seen = _count(network), _count(vision)
    picture, caption = _operations(network, shape.image_size, is_ofa)
    return {
        "name": shape.name,
        "image_size": shape.image_size,
        "parameters": parameters,
        "vision_parameters": seen,
        "bf16_bytes": HALF_BYTES * parameters,
        "training_bytes": TRAINED_BYTES * parameters,
        "training_bytes_frozen_vision": TRAINED_BYTES * (parameters - seen) + FROZEN_BYTES * seen,
        "picture_operations": picture,
        "caption_operations": caption,
    }


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _operations(network: Any, image_size: int, is_ofa: bool) -> tuple[int, int]:
    """Of a picture with its prompt, and of a caption behind them."""
    network.template, network.end_of_prompt = Template([5] * 2, [6] * 2, [6], [7] * 4), 7
    prompt = torch.full((1, PROMPT), 9, device="meta")
    pixels = torch.empty(1, 3, image_size, image_size, device="meta")
    caption = torch.full((1, CAPTION), 9, device="meta")
    with _NothingFilledUp(), FlopCounterMode(display=False) as looking:
        if is_ofa:
            encoded = network.encoder(input_ids=prompt, patch_images=pixels)
        else:
            encoded = network.encode(prompt, pixels)
    with _NothingFilledUp(), FlopCounterMode(display=False) as scoring:
        if is_ofa:
            network(encoder_outputs=encoded, decoder_input_ids=caption)
        else:
            network.caption_logits(encoded, caption)
    return looking.get_total_flops(), scoring.get_total_flops()


def size_table(found: Sequence[Mapping[str, Any]]) -> str:
    """A row a size, for a page."""
    head = ("size", "picture", "parameters", "of them vision", "bf16 weights", "training", "with frozen vision")
    rows = [(*head, "operations: a picture", "a first caption"), ("---",) * (len(head) + 2)]
    for one in found:
        half, whole, frozen = (
            f"{one[name] / GIB:.1f} GiB" for name in ("bf16_bytes", "training_bytes", "training_bytes_frozen_vision")
        )
        operations = (f"{one[name] / 1e9:,.0f} G" for name in ("picture_operations", "caption_operations"))
        counts = (f"{one[name] / 1e6:,.0f} M" for name in ("parameters", "vision_parameters"))
        rows.append((one["name"], f"{one['image_size']} px", *counts, half, whole, frozen, *operations))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def family_table() -> str:
    """What every adapter says of itself."""
    rows = [
        ("`model_type`", "class", "how a style enters", "licence of the published weights", "what was tested here"),
        ("---",) * 5,
    ]
    for kind, place in CAPTIONERS.items():
        rows.append((f"`{kind}`", *resolve_name(place).about()))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_page(page: Path, tables: Mapping[str, str]) -> None:
    """Put tables between the marks of a page, ``<!-- NAME ... -->`` to ``<!-- end -->``."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        before, mark, rest = text.partition(f"<!-- {name}:")
        told, _, behind = rest.partition("-->\n")
        _, end, after = behind.partition("<!-- end -->")
        if not end:
            raise ValueError(f"{page}: has no <!-- {name}: ... --> with an <!-- end --> behind it")
        text = f"{before}{mark}{told}-->\n{table}\n{end}{after}"
    write_text(page, text)


def main() -> None:
    """Work out all sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, help="page to write the tables into")
    options = parser.parse_args()
    found = [work_out(shape) for shape in shapes()]
    for one in found:
        sys.stdout.write(encode_json(one).decode() + "\n")
    if options.page is not None:
        write_page(options.page, {"families": family_table(), "sizes": size_table(found)})


if __name__ == "__main__":
    main()
