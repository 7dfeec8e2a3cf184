"""Texts of a language model: ours against transformers' ``generate``, like for like, in one run.

python benchmarks/lm_sampling.py [--preset tiny] [--vocabulary 50265] [--threads 1] [--rounds 3]

Both write 64 tokens behind each of 32 prompts, EOS forbidden, with the same rules. The weights are random, and scores
are spread so that the next token has about 5 nats, as in a trained model: nuclei are neither one token nor all. The
last line is JSON: CPU seconds of the best round, and how many times as fast ours is.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from models.style_lm import SIZES, StyleLM
from models.style_lm.sampling import Sampling, sample_texts

TEXTS, TOKENS = 32, 64
NATS = 5.0
RULES = {
    "top_k": {"temperature": 0.9, "top_k": 50, "top_p": 0.95},
    "top_p": {"temperature": 0.9, "top_p": 0.95},
    "plain": {},
    "penalties": {"top_k": 50, "repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
}


class Ids:
    """As much of a tokenizer as sampling asks for; EOS is none of its entries, so that no text ends."""

    bos_id, eos_id = 0, -1

    def __init__(self, entries: int) -> None:
        self.entries = entries

    def __len__(self) -> int:
        return self.entries


@torch.no_grad()
def spread_scores(lm: StyleLM) -> None:
    """Normal scores of deviation s over V entries leave ln V - s * s / 2 nats."""
    wanted = math.sqrt(2 * (math.log(len(lm.tokenizer)) - NATS))
    found = lm.logits(torch.arange(8)[None])[0, -1].std()
    lm.network.transformer.ln_f.weight.mul_(wanted / found)


def best(work: Callable[[], int], rounds: int) -> float:
    """CPU seconds of the fastest round, after one to warm up: other programs share the machine."""
    assert work() == TEXTS * TOKENS
    found = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return min(found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=SIZES, default="tiny")
    parser.add_argument("--vocabulary", type=int, default=50265)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lm = StyleLM.new(Ids(options.vocabulary), None, size=options.preset, positions=128)
    lm.network.generation_config.eos_token_id = None
    spread_scores(lm)
    prompts = torch.randint(5, options.vocabulary, (TEXTS, 4), generator=torch.Generator().manual_seed(0))
    results: dict[str, dict[str, float]] = {}
    for name, rules in RULES.items():
        settings = Sampling(max_length=TOKENS, **rules)

        def ours(settings: Sampling = settings) -> int:
            return sum(map(len, sample_texts(lm, prompts.tolist(), settings)))

        def theirs(rules: dict[str, float] = rules) -> int:
            given = {"top_k": 0, "do_sample": True, "max_new_tokens": TOKENS, "pad_token_id": 0} | rules
            with torch.no_grad():
                found = lm.network.generate(prompts, attention_mask=torch.ones_like(prompts), **given)
            return found[:, prompts.shape[1] :].numel()

        seconds = best(ours, options.rounds), best(theirs, options.rounds)
        results[name] = {"ours": seconds[0], "generate": seconds[1], "times": seconds[1] / seconds[0]}
        print(f"{name}: {results[name]}", file=sys.stderr, flush=True)
    print(json.dumps({"preset": options.preset, "vocabulary": options.vocabulary, "results": results}))


if __name__ == "__main__":
    main()
