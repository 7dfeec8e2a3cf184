"""What adapters save against training all weights: parameters, optimizer, checkpoint, memory of a step.

    OMP_NUM_THREADS=1 python benchmarks/adapter_memory.py --preset base

Prints one JSON object. Each way is a process of its own: OFA of a preset with the published vocabulary and random
weights takes three cross-entropy steps of AdamW on random pictures and captions. Bytes of weights that are trained, of
Adam's two moments and of what a checkpoint holds are counted; `peak_mb` is the most resident memory (Linux), MiB, and
`seconds` the median step. `rows` are adapters with rows of their own for style tokens.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

import torch  # noqa: E402

from models.adapters import Adapters, AdapterShape  # noqa: E402
from models.ofa import PRESETS, OFAConfig, OFAForConditionalGeneration  # noqa: E402
from models.ofa.captioner import OFACaptioner  # noqa: E402
from trainers.freezing import freeze_parts  # noqa: E402

WAYS = ("all", "all_but_vision", "adapters", "rows")
STEPS, WORDS, STYLES = 3, 16, 4


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="base", choices=[*PRESETS])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--way", choices=WAYS, help="this one alone, in this process")
    options = parser.parse_args()
    if options.way is not None:
        print(json.dumps(measure(options)))
        return
    found = {way: json.loads(_in_a_process(way)) for way in WAYS}
    print(json.dumps(vars(options) | {"torch": torch.__version__} | found))


def _in_a_process(way: str) -> bytes:
    return subprocess.run([sys.executable, *sys.argv, "--way", way], check=True, stdout=subprocess.PIPE).stdout


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One way."""
    torch.manual_seed(0)
    config = OFAConfig(**PRESETS[options.preset])
    entries = config.vocab_size
    captioner: Any = OFACaptioner(OFAForConditionalGeneration(config), None)  # type: ignore[arg-type]
    captioner.module.resize_token_embeddings(entries + STYLES, mean_resizing=False)
    captioner.tokenizer = SimpleNamespace(encode_text=lambda token: [entries + int(token)])
    adapted = options.way in ("adapters", "rows")
    if adapted:
        tokens = [str(number) for number in range(STYLES)] if options.way == "rows" else []
        Adapters(captioner, AdapterShape(options.rank, options.rank), tokens, base="", seed=0)
    freeze_parts(captioner, [] if options.way == "all" else ["vision"])
    parameters = [parameter for parameter in captioner.module.parameters() if parameter.requires_grad]
    trained = sum(parameter.numel() for parameter in parameters)
    whole = sum(parameter.numel() for parameter in captioner.module.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    seconds = [_step(captioner, optimizer, options) for _ in range(STEPS)]
    return {
        "parameters": whole,
        "trained": trained,
        "gradient_bytes": 4 * trained,
        "moments_bytes": 8 * trained,
        "checkpoint_bytes": 4 * (trained if adapted else whole) + 8 * trained,
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "seconds": round(statistics.median(seconds), 2),
    }


def _step(captioner: OFACaptioner, optimizer: torch.optim.Optimizer, options: argparse.Namespace) -> float:
    started = time.perf_counter()
    captioner.module.train()
    called = captioner.through(captioner.module)
    prompts = torch.randint(4, 50_000, (options.batch, 9))
    captions = torch.randint(4, 50_000, (options.batch, WORDS))
    pictures = torch.randn(options.batch, 3, options.image, options.image)
    encoded = called.encode({"input_ids": prompts, "patch_images": pictures})
    logits = called.logits(encoded, captions)
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), captions.flatten()).backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
