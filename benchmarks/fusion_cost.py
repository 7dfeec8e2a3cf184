"""What a language model beside the captioner costs, and what its cache saves: beams with and without it, by turns.

    python benchmarks/fusion_cost.py --size tiny --lm nano --image 224 --batch 8 --rounds 5
    python benchmarks/fusion_cost.py --size nano --image 32 --batch 2 --rounds 1       the short form

An OFA and a language model with random weights, beam 5, all captions 16 tokens long; with guidance the language model
reads every caption twice, behind the style and behind nothing. ``rereads`` reads captions from their beginning at every
step, as fusion did before it had a cache. Prints one JSON object: CPU seconds of the best round of a whole batch, and
of the language model's part of it, how many times as fast the cache is, whether the captions are the same, and the
largest difference of a log-probability.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch import Tensor

from captioning.fusion import Fusion
from models.captioner import Encoded, NextScores
from models.ofa.captioner import OFACaptioner
from models.ofa.configuration_ofa import PRESETS, OFAConfig
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.settings import Decoding
from models.style_lm import SIZES, StyleLM
from utils.io import encode_json

RULES = Decoding(min_length=16)
WEIGHTS = {"weight": {"weight": 0.2, "guidance": 0.0}, "weight and guidance": {"weight": 0.2, "guidance": 0.3}}
CODE = [100, 101, 102]


class Ids:
    """As much of a tokenizer as fusion asks for; a control code has three tokens."""

    bos_id, eos_id = 0, 2

    def __init__(self, entries: int) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return self.entries

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for every text."""
        return [CODE for _ in texts]


class Watched:
    """A callable whose CPU seconds are counted, and what it is asked kept."""

    def __init__(self, scores: NextScores) -> None:
        self.scores, self.seconds = scores, 0.0
        self.asked: list[Tensor] = []

    def __call__(self, token_ids: Tensor) -> Tensor:
        """The scores."""
        self.asked.append(token_ids)
        start = time.process_time()
        found = self.scores(token_ids)
        self.seconds += time.process_time() - start
        return found


def main() -> None:
    """Measure by turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--lm", default="nano", choices=SIZES)
    for name, default in (("image", 224), ("batch", 8), ("rounds", 5), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(encode_json({**vars(options), **measure(options)}).decode())


@torch.no_grad()
def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All that the benchmark says."""
    torch.manual_seed(0)
    captioner = OFACaptioner(OFAForConditionalGeneration(OFAConfig(**PRESETS[options.size])).eval(), None)
    lm = StyleLM.new(Ids(captioner.module.config.text_vocab_size), None, size=options.lm, positions=64)
    prompts = torch.randint(4, lm.network.config.vocab_size, (1, 14)).repeat(options.batch, 1)
    encoded = captioner.encode(
        {"input_ids": prompts, "patch_images": torch.randn(options.batch, 3, options.image, options.image)}
    )
    styles = ["pirate"] * options.batch
    results: dict[str, Any] = {"alone_s": min(seconds_of(captioner, encoded, None)[1] for _ in range(options.rounds))}
    for name, weights in WEIGHTS.items():
        results[name] = compare(captioner, encoded, Fusion(lm, **weights), styles, options.rounds)
    return results


def compare(
    captioner: OFACaptioner, encoded: Encoded, fusion: Fusion, styles: list[str], rounds: int
) -> dict[str, Any]:
    """The cache against reading again."""
    whole: dict[str, list[float]] = {"cache": [], "rereads": []}
    part: dict[str, list[float]] = {"cache": [], "rereads": []}
    captions: dict[str, Tensor] = {}
    for _ in range(rounds):
        for name in whole:
            watched = Watched(fusion.of(styles) if name == "cache" else rereading(fusion, styles))
            captions[name], seconds = seconds_of(captioner, encoded, watched)
            whole[name].append(seconds)
            part[name].append(watched.seconds)
    following, again = fusion.of(styles), rereading(fusion, styles)
    largest = max(float((following(asked) - again(asked)).abs().max()) for asked in watched.asked)
    return {
        **{f"{name}_s": round(min(taken), 4) for name, taken in whole.items()},
        **{f"{name}_lm_s": round(min(taken), 4) for name, taken in part.items()},
        "times": round(min(whole["rereads"]) / min(whole["cache"]), 2),
        "times_of_the_lm": round(min(part["rereads"]) / min(part["cache"]), 2),
        "same_captions": torch.equal(captions["cache"], captions["rereads"]),
        "largest_difference": largest,
    }


def seconds_of(captioner: OFACaptioner, encoded: Encoded, fusion: NextScores | None) -> tuple[Tensor, float]:
    """Captions, and the CPU seconds that they took."""
    start = time.process_time()
    captions = captioner.beams(encoded, RULES, fusion=fusion)
    return captions, time.process_time() - start


def rereading(fusion: Fusion, styles: Sequence[str]) -> NextScores:
    """The same scores without anything kept from one step to the next."""
    lm, prompts, neutral = fusion.lm, [fusion.lm.prompt(style) for style in styles], fusion.lm.prompt(None)

    def score(token_ids: Tensor) -> Tensor:
        texts = token_ids.tolist()
        per_picture = len(texts) // len(prompts)
        styled = [[*prompts[row // per_picture], *text] for row, text in enumerate(texts)]
        scores = (fusion.weight + fusion.guidance) * lm.steps(styled, most=1).log_probs
        if fusion.guidance:
            scores = scores - fusion.guidance * lm.steps([[*neutral, *text] for text in texts], most=1).log_probs
        return scores

    return score


if __name__ == "__main__":
    main()
