"""What guided captions cost: the time of a batch with guidance over that of the same batch without.

    python benchmarks/guidance_cost.py --size tiny --image 224 --batch 4 --pairs 5 --threads 2

Prints one JSON object of an OFA with random weights, beam 5, all captions 16 tokens long: medians in seconds of plain
and guided captions in alternating pairs, the median ratio of a pair with its range, and how often the vision network
and the encoder were called for a guided batch.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from models.ofa.captioner import OFACaptioner
from models.ofa.configuration_ofa import PRESETS, OFAConfig
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.settings import Decoding
from utils.io import encode_json

PROMPTS = {"styled": 14, "neutral": 13}
"""Tokens of a prompt, BOS and EOS counted."""
WEIGHT = 1.5


def main() -> None:
    """Measure in pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=sorted(PRESETS))
    for name, default in (("image", 224), ("batch", 4), ("pairs", 5), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    captioner = OFACaptioner(OFAForConditionalGeneration(OFAConfig(**PRESETS[options.size])).eval(), None)
    pixels = torch.randn(options.batch, 3, options.image, options.image)
    ids = {name: torch.randint(4, 50_000, (1, length)).repeat(options.batch, 1) for name, length in PROMPTS.items()}
    caption(captioner, pixels, ids, guided=True)
    times: dict[str, list[float]] = {"plain": [], "guided": []}
    for _ in range(options.pairs):
        for name, taken in times.items():
            start = time.perf_counter()
            caption(captioner, pixels, ids, guided=name == "guided")
            taken.append(time.perf_counter() - start)
    ratios = [guided / plain for plain, guided in zip(times["plain"], times["guided"], strict=True)]
    medians = {f"{name}_s": round(statistics.median(taken), 4) for name, taken in times.items()}
    spread = {"ratio": round(statistics.median(ratios), 3), "range": [round(min(ratios), 3), round(max(ratios), 3)]}
    result = {**vars(options), **medians, **spread, "passes": count_passes(captioner, pixels, ids)}
    print(encode_json(result).decode())


@torch.no_grad()
def caption(captioner: OFACaptioner, pixels: torch.Tensor, ids: dict[str, torch.Tensor], *, guided: bool) -> None:
    """Caption a batch as :class:`captioning.writer.CaptionWriter` does."""
    decoding = Decoding(min_length=16, guidance=WEIGHT if guided else 1.0)
    neutral, shown = None, {"patch_images": pixels}
    if guided:
        shown = {"image_features": captioner.module.encoder.embed_images(pixels)}
        neutral = captioner.encode(shown | {"input_ids": ids["neutral"]})
    captioner.beams(captioner.encode(shown | {"input_ids": ids["styled"]}), decoding, neutral=neutral)


def count_passes(captioner: OFACaptioner, pixels: torch.Tensor, ids: dict[str, torch.Tensor]) -> dict[str, int]:
    """Calls of a guided batch."""
    passes: Counter[str] = Counter()
    encoder = captioner.module.encoder
    hooks = [
        encoder.register_forward_hook(lambda *_: passes.update(encoder=1)),
        encoder.embed_images.register_forward_hook(lambda *_: passes.update(vision=1)),
    ]
    caption(captioner, pixels, ids, guided=True)
    for hook in hooks:
        hook.remove()
    return dict(passes)


if __name__ == "__main__":
    main()
