"""Memory and time of a cross-entropy step by model size and picture size: measured here, computed for another device.

    python benchmarks/scaling_table.py --shapes nano:224,tiny:224,tiny:384,tiny:480,medium:224
    python benchmarks/scaling_table.py --shapes base:480 --batch 32 --device cuda

Each shape runs in a process of its own: published sizes and vocabulary (59,457), random weights, a prompt of 14 and a
caption of 12 tokens, everything trained, AdamW, float32. Of its first step are counted: the floating-point operations
of forward and backward pass (torch's counter: products alone), and the bytes that autograd keeps for the backward pass.
From these, for any batch and device:

    memory  = 16 bytes x parameters (weights, gradients, two moments) + rows x bytes kept for a row
    seconds = rows x operations of a row / (peak of the device x share of it that is reached)

Prints one JSON object: for each shape what was counted, the most memory and the median of the further steps on this
device (of a CPU in processor seconds of all threads), the formula's memory beside it, and the formula's rows and
seconds for the device that --memory, --peak and --share describe, by default 80 GiB, 100 TFLOP/s and 0.3: round
numbers, not a measurement of any card.
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
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

GIB = 2**30
BYTES_A_PARAMETER = 16
PROMPT_TOKENS, CAPTION_TOKENS = 14, 12


def main() -> None:
    """Measure every shape and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="nano:224,tiny:224", help="SIZE:PIXELS,...")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3, help="measured, after the one that is counted")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory", type=float, default=80.0, help="GiB, of the device that is computed for")
    parser.add_argument("--peak", type=float, default=100.0, help="TFLOP/s of it")
    parser.add_argument("--share", type=float, default=0.3, help="of the peak that training reaches")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        size, image = options.only.split(":")
        print(json.dumps(measure(size, int(image), options.batch, options.steps, options.device, options.threads)))
        return
    shapes = [_row(shape, options) for shape in options.shapes.split(",")]
    print(json.dumps({"batch": options.batch, "device": options.device, "shapes": shapes}))


def _row(shape: str, options: argparse.Namespace) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *sys.argv, "--only", shape], stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    return found | compute(found, options.batch, options.memory, options.peak, options.share)


def compute(found: dict[str, Any], batch: int, memory: float, peak: float, share: float) -> dict[str, Any]:
    """What the formulas give: memory of the measured batch, and rows that fit and seconds of them elsewhere.

    Args:
        found: Of :func:`measure`.
        batch: Rows that it measured.
        memory: GiB of the other device.
        peak: Its TFLOP/s.
        share: Of the peak.
    """
    state, kept = BYTES_A_PARAMETER * found["parameters"], found["kept_bytes_per_row"]
    rows = max(0, int((memory * GIB - state) // kept))
    return {
        "computed_gib": round((state + batch * kept) / GIB, 3),
        "computed_rows_that_fit": rows,
        "computed_seconds_per_100_rows": round(100 * found["flops_per_row"] / (peak * 1e12 * share), 4),
    }


def measure(size: str, image: int, batch: int, steps: int, device: str, threads: int) -> dict[str, Any]:
    """One shape in this process."""
    import torch

    from models.ofa import PRESETS, OFAConfig, OFAForConditionalGeneration
    from trainers.losses.cross_entropy import label_smoothed_cross_entropy

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    before = _peak(device)
    model = OFAForConditionalGeneration(OFAConfig(**PRESETS[size])).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)
    labels = torch.randint(100, 50000, (batch, CAPTION_TOKENS), device=device)
    inputs = {
        "input_ids": torch.randint(100, 50000, (batch, PROMPT_TOKENS), device=device),
        "patch_images": torch.rand(batch, 3, image, image, device=device),
        "patch_masks": torch.ones(batch, dtype=torch.bool, device=device),
        "labels": labels,
    }

    def step() -> None:
        optimizer.zero_grad()
        entropy = label_smoothed_cross_entropy(model(**inputs).logits, labels, 0.1)
        (entropy.loss / entropy.tokens).backward()
        optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    flops, kept = _count(step, [*model.parameters(), *model.buffers(), *inputs.values()])
    # Of the processor, since others may use this machine too; of a GPU by the clock.
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds = []
    for _ in range(steps):
        start = clock()
        step()
        seconds.append(clock() - start)
    return {
        "size": size,
        "image": image,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "flops_per_row": flops // batch,
        "kept_bytes_per_row": kept // batch,
        # The optimizer's moments are there from the second step on.
        "measured_gib": round((_peak(device) - before) / GIB, 3) if seconds else None,
        "measured_step_seconds": round(statistics.median(seconds), 3) if seconds else None,
    }


def _count(step: Any, known: list[Any]) -> tuple[int, int]:
    """Operations of a step, and the bytes of storages that autograd keeps for it beside those that are known."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    storages = {tensor.untyped_storage().data_ptr() for tensor in known}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in storages:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        step()
    return counter.get_total_flops(), sum(kept.values())


def _peak(device: str) -> int:
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
