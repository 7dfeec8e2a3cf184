"""Time our OFA on random weights of a published size: encoder, cross-entropy step, beam search.

    python benchmarks/ofa_speed.py --size tiny --image 224 --batch 4 --runs 3 --threads 2

Prints one JSON object with the keys of the reference's own benchmark; times are medians in seconds after one warm-up.
Compare only figures of one sitting, in alternating runs (benchmarks/compare.py): single runs drift by tens of percent.
`--freeze_resnet` times the step with frozen vision weights, which is not like for like, and says so in its key.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

start = time.perf_counter()
import torch  # noqa: E402

from models.ofa import PRESETS, OFAConfig, OFAForConditionalGeneration  # noqa: E402
from trainers.freezing import freeze_parts  # noqa: E402
from trainers.losses import label_smoothed_cross_entropy  # noqa: E402

import_seconds = time.perf_counter() - start

PROMPT = [0, 99, 473, 5, 2274, 6190, 116, 3116, 10, 1437, 50272, 10418, 4, 2]
"""" what does the image describe? write a <code_7> reply." in the published BPE."""
CAPTION_TOKENS = 12


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=("tiny", "medium", "base"))
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--freeze_resnet", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(json.dumps(measure(options)))


def measure(options: argparse.Namespace) -> dict[str, object]:
    """All timings of one process."""
    torch.manual_seed(0)
    device = options.device
    model = OFAForConditionalGeneration(OFAConfig(**PRESETS[options.size])).to(device)
    freeze_parts(model, ["resnet"] if options.freeze_resnet else [])
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5, fused=True)
    inputs, labels = make_batch(options)

    def encoder() -> None:
        model.eval()
        with torch.no_grad():
            model.encoder(inputs["input_ids"], inputs["patch_images"], inputs["patch_masks"])

    def xe_step() -> None:
        model.train()
        optimizer.zero_grad()
        entropy = label_smoothed_cross_entropy(model(**inputs).logits, labels, 0.1)
        (entropy.loss / entropy.tokens).backward()
        optimizer.step()

    def beam5() -> None:
        model.eval()
        generation = {key: inputs[key] for key in ("input_ids", "patch_images", "patch_masks")}
        model.generate(**generation, num_beams=5, max_length=18)

    step_key = "xe_step_frozen_resnet_s" if options.freeze_resnet else "xe_step_s"
    timings = {"encoder_forward_s": encoder, step_key: xe_step, "beam5_s": beam5}
    result: dict[str, object] = {"ours": "stylecap", "import_s": round(import_seconds, 2), **vars(options)}
    result |= {key: median_seconds(call, options.runs, device) for key, call in timings.items()}
    if device == "cpu":
        result["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    else:
        result["peak_gpu_mb"] = torch.cuda.max_memory_allocated() // 2**20
    return result


def make_batch(options: argparse.Namespace) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The reference benchmark's batch: one prompt, random pixels, random captions of 12 tokens."""
    generator = torch.Generator().manual_seed(0)
    batch, side = options.batch, options.image
    images = torch.randn(batch, 3, side, side, generator=generator)
    labels = torch.randint(4, 50000, (batch, CAPTION_TOKENS), generator=generator)
    labels[:, -1] = 2
    inputs = {
        "input_ids": torch.tensor([PROMPT]).expand(batch, -1),
        "patch_images": images,
        "patch_masks": torch.ones(batch, dtype=torch.bool),
        "decoder_input_ids": torch.cat([torch.zeros(batch, 1, dtype=torch.long), labels[:, :-1]], 1),
    }
    return {key: tensor.to(options.device) for key, tensor in inputs.items()}, labels.to(options.device)


def median_seconds(call: Callable[[], None], runs: int, device: str) -> float:
    """Median wall time of ``runs`` calls after one that warms up."""
    call()
    times = []
    for _ in range(runs):
        if device != "cpu":
            torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return round(statistics.median(times), 4)


if __name__ == "__main__":
    main()
